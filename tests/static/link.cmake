# The ways in which a program comes to run on brim, and what each needs on the link line:
#
#   preloaded    nothing; LD_PRELOAD in the environment
#   archive      a dynamic program with libbrim.a in it
#   static       -static
#   static-pie   -static-pie, and position-independent objects
#
# -u malloc takes brim out of the archive ahead of libc's malloc even if the program never names malloc. The
# other two are what operator new needs of the C++ runtime: libbrim.a refers to it weakly, so that C programs
# link.
set(brim_link_modes preloaded archive static static-pie)

if(NOT TARGET brim_test_program)
  add_library(brim_test_program INTERFACE)
  target_link_libraries(brim_test_program INTERFACE brim_warnings)
  target_compile_definitions(brim_test_program INTERFACE $<$<COMPILE_LANGUAGE:C>:_GNU_SOURCE>)
  # The tests check what malloc does, and not what the compiler knows about a malloc.
  target_compile_options(brim_test_program INTERFACE -fno-builtin-malloc -fno-builtin-calloc
    -fno-builtin-realloc -fno-builtin-free $<$<COMPILE_LANGUAGE:CXX>:-fsized-deallocation>)
  target_include_directories(brim_test_program INTERFACE
    $<TARGET_PROPERTY:brim_shared,INTERFACE_INCLUDE_DIRECTORIES>)
endif()

function(brim_link target mode)
  if(mode STREQUAL "preloaded")
    return()
  endif()
  target_link_libraries(${target} PRIVATE brim_static)
  target_link_options(${target} PRIVATE LINKER:-u,malloc
    $<$<LINK_LANGUAGE:CXX>:LINKER:-u,_ZSt17__throw_bad_allocv,-u,_ZSt15get_new_handlerv>)
  if(NOT mode STREQUAL "archive")
    target_link_options(${target} PRIVATE -${mode} LINKER:-Map=$<TARGET_FILE:${target}>.map)
  endif()
endfunction()

# Compiles SOURCE once, links it in each of MODES, and registers FOLDER/NAME-MODE.
function(brim_add_programs folder name source)
  cmake_parse_arguments(PROGRAM "" "" "MODES;DEFINITIONS" ${ARGN})
  find_package(Threads REQUIRED)
  set(objects ${folder}_${name})
  add_library(${objects} OBJECT ${source})
  set_target_properties(${objects} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(${objects} PRIVATE brim_test_program)
  target_compile_definitions(${objects} PRIVATE ${PROGRAM_DEFINITIONS})
  foreach(mode ${PROGRAM_MODES})
    add_executable(${objects}_${mode} $<TARGET_OBJECTS:${objects}>)
    target_link_libraries(${objects}_${mode} PRIVATE Threads::Threads)
    brim_link(${objects}_${mode} ${mode})
    brim_add_program_test(${folder}/${name}-${mode} ${mode} ${objects}_${mode})
  endforeach()
endfunction()

function(brim_add_program_test test mode)
  if(mode STREQUAL "preloaded")
    add_preload_test(${test} COMMAND ${ARGN})
  else()
    add_test(NAME ${test} COMMAND ${ARGN})
  endif()
  set_tests_properties(${test} PROPERTIES TIMEOUT 120 SKIP_RETURN_CODE 77)
endfunction()
