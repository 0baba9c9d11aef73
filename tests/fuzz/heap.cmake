# Files that are to be heaps, and were changed: fuzz/heap_file. For longer:
#   build/tests/fuzz/heap_file -max_len=300 -len_control=0 -max_total_time=3600 FOLDER tests/fuzz/heap_file
find_program(FUZZ_CLANG clang)
if(NOT FUZZ_CLANG)
  add_test(NAME fuzz/heap_file COMMAND sh -c "echo 'there is no clang'; exit 77")
  set_tests_properties(fuzz/heap_file PROPERTIES SKIP_RETURN_CODE 77)
  return()
endif()

set(heap_fuzzer ${CMAKE_CURRENT_BINARY_DIR}/heap_file)
file(GLOB allocator_rooms CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/allocator/*.c ${PROJECT_SOURCE_DIR}/allocator/*.h
  ${PROJECT_SOURCE_DIR}/allocator/*.def)
add_custom_command(OUTPUT ${heap_fuzzer}
  COMMAND ${FUZZ_CLANG} -std=gnu17 -D_GNU_SOURCE -DBRIM_PREFIXED=1 -O1 -g -UNDEBUG -Wall -Wextra -fvisibility=hidden
    -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free -ftls-model=initial-exec
    -fno-omit-frame-pointer -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
    -I${PROJECT_SOURCE_DIR}/allocator/include ${PROJECT_SOURCE_DIR}/allocator/brim.c
    ${CMAKE_CURRENT_SOURCE_DIR}/heap_file.c -o ${heap_fuzzer}
  DEPENDS heap_file.c ${allocator_rooms} ${PROJECT_SOURCE_DIR}/allocator/include/brim.h)
add_custom_target(fuzz_heap_file ALL DEPENDS ${heap_fuzzer})

# The budget is in runs, so that it does not depend on the machine's speed.
add_test(NAME fuzz/heap_file COMMAND ${heap_fuzzer} -runs=4000 -seed=1 -max_len=300 -len_control=0 -timeout=20
  ${CMAKE_CURRENT_BINARY_DIR}/heap_file.corpus ${CMAKE_CURRENT_SOURCE_DIR}/heap_file)
file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/heap_file.corpus)
set_tests_properties(fuzz/heap_file PROPERTIES TIMEOUT 600 ENVIRONMENT "LD_PRELOAD=")
