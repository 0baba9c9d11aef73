/* new.c: the C++ operators new and delete, all of them, in C under their Itanium ABI names, so that the
   library needs no C++ runtime. A block from new is a block from malloc.

   Out of memory is the loop that C++ prescribes ([new.delete.single]): call the new-handler and try again,
   until there is a block, the handler leaves by an exception, or no handler is left; then the throwing forms
   throw std::bad_alloc and the nothrow forms return NULL. A nothrow form also returns NULL when the handler
   throws, whatever it throws. Thread cancellation and pthread_exit in a handler are no exceptions, and pass
   through.

   The C++ runtime's part (the handler, the throw, the catch) is bound by weak references where the program
   brings a C++ runtime, shared or static. A C program that loads a C++ plugin had none when those references
   were bound: there the runtime is looked for when it is needed, which is only ever out of memory. A weak
   reference takes nothing out of a static libstdc++, so such a link names the two, as in
   -Wl,-u,_ZSt17__throw_bad_allocv,-u,_ZSt15get_new_handlerv.

   An operator that the program replaces is the program's, and those that C++ defines by it follow: our new[]
   calls the program's new, our sized delete calls its plain delete. They are weak definitions so that a
   program, or libstdc++.a, that has its own links with libbrim.a. Our own plain new and delete never ask. */
#include "alloc.h"
#include "diag.h"
#include "library.h"

#include <stdlib.h>
#include <unwind.h>

static_assert(sizeof(size_t) == sizeof(unsigned long), "the names below spell size_t as m, unsigned long");

/* ---- The C++ runtime ---- */

typedef void (*new_handler)(void);

#pragma weak _ZSt15get_new_handlerv
new_handler _ZSt15get_new_handlerv(void); /* std::get_new_handler() */
#pragma weak _ZSt17__throw_bad_allocv
_Noreturn void _ZSt17__throw_bad_allocv(void); /* std::__throw_bad_alloc(), in libstdc++ and libc++ */
#pragma weak __cxa_begin_catch
void *__cxa_begin_catch(void *exception);
#pragma weak __cxa_end_catch
void __cxa_end_catch(void);
#pragma weak _Unwind_SetGR
#pragma weak _Unwind_SetIP

/* As seen by the module that `code` belongs to. */
static library_function module_find(const void *code, const char *name)
{
    Dl_info module;
    return dladdr && dladdr(code, &module) != 0 ? library_find(module.dli_fname, name) : NULL;
}

/* The function as the program bound it; else the one that the caller was linked to, or a known runtime's. */
static library_function runtime_find(library_function bound, const void *caller, const char *name)
{
    library_function found = bound;
    if (!found)
        found = module_find(caller, name);
    if (!found)
        found = library_find("libstdc++.so.6", name);
    if (!found)
        found = library_find("libc++.so.1", name);
    return found;
}

#define RUNTIME_FIND(function, caller) \
    ((__typeof__(&(function)))runtime_find((library_function)(function), caller, #function))

/* The function as the module of `code` sees it; else as the program bound it. */
static library_function peer_find(library_function bound, const void *code, const char *name)
{
    library_function found = module_find(code, name);
    return found ? found : bound;
}

#define PEER_FIND(function, code) \
    ((__typeof__(&(function)))peer_find((library_function)(function), code, #function))

/* ---- try { return function(request); } catch (...) { return NULL; } ----

   C has no catch. What a C++ compiler would make of it is a frame that names a personality routine and has a
   landing pad, and that takes a few instructions of assembly. The routine is ours rather than the runtime's,
   as that may not be there when we are bound; it has one rule and so needs no exception table. */

struct request {
    size_t size;
    size_t alignment;   /* 0: any block will do */
    const void *caller; /* for runtime_find */
    void *(*replacement)(size_t);
    void *(*aligned_replacement)(size_t, size_t);
};

typedef void *(*request_function)(const struct request *);

struct guarded_result {
    void *block;
    struct _Unwind_Exception *exception; /* NULL if the call returned; else caught, and not yet destroyed */
};

/* Internal all the same: hidden, and global only because the assembly and C refer to each other. */
#define HIDDEN __attribute__((visibility("hidden")))
HIDDEN struct guarded_result brim_guarded_call(const struct request *request, request_function function);
HIDDEN extern const char brim_guarded_landing[];
HIDDEN __attribute__((used))
_Unwind_Reason_Code brim_guard_personality(int version, _Unwind_Action actions, _Unwind_Exception_Class class,
                                           struct _Unwind_Exception *exception,
                                           struct _Unwind_Context *context);

/* guarded_result travels in two registers, the two in which the unwinder hands values to a landing pad. */
__asm__(".pushsection .text\n"
        ".globl brim_guarded_call, brim_guarded_landing\n"
        ".hidden brim_guarded_call, brim_guarded_landing\n"
        ".type brim_guarded_call, %function\n"
        ".p2align 4\n"
        "brim_guarded_call:\n"
        ".cfi_startproc\n"
        ".cfi_personality 0x1b, brim_guard_personality\n" /* DW_EH_PE_pcrel | DW_EH_PE_sdata4 */
#if defined(__x86_64__)
        "subq $8, %rsp\n"
        ".cfi_adjust_cfa_offset 8\n"
        "call *%rsi\n"
        "xorl %edx, %edx\n"
        "brim_guarded_landing:\n"
        "addq $8, %rsp\n"
        ".cfi_adjust_cfa_offset -8\n"
        "ret\n"
#elif defined(__aarch64__)
        "stp x29, x30, [sp, #-16]!\n"
        ".cfi_def_cfa_offset 16\n"
        ".cfi_offset 29, -16\n"
        ".cfi_offset 30, -8\n"
        "mov x29, sp\n"
        "blr x1\n"
        "mov x1, #0\n"
        "brim_guarded_landing:\n"
        "ldp x29, x30, [sp], #16\n"
        ".cfi_restore 30\n"
        ".cfi_restore 29\n"
        ".cfi_def_cfa_offset 0\n"
        "ret\n"
#else
#error "new.c: the guarded call is missing for this architecture"
#endif
        ".cfi_endproc\n"
        ".size brim_guarded_call, . - brim_guarded_call\n"
        ".popsection\n");

/* Both functions of the runtime that threw, which need not be the one the program is bound to. */
struct catcher {
    __typeof__(&__cxa_begin_catch) begin_catch;
    __typeof__(&__cxa_end_catch) end_catch;
};

static bool catcher_find(struct catcher *catcher, const struct _Unwind_Exception *exception)
{
    const void *thrower = (const void *)exception->exception_cleanup;
    catcher->begin_catch = PEER_FIND(__cxa_begin_catch, thrower);
    catcher->end_catch = PEER_FIND(__cxa_end_catch, thrower);
    return catcher->begin_catch && catcher->end_catch;
}

/* Itanium C++ ABI, exception handling, 1.6: asked in the search phase whether this frame catches, and told in
   the second phase to enter it. An exception that we cannot catch is left to the frames above: one of a
   runtime that is linked into a module and hides its functions. */
_Unwind_Reason_Code brim_guard_personality(int version, _Unwind_Action actions, _Unwind_Exception_Class class,
                                           struct _Unwind_Exception *exception,
                                           struct _Unwind_Context *context)
{
    (void)class;
    const void *unwinder = __builtin_return_address(0);
    __typeof__(&_Unwind_SetGR) set_register = PEER_FIND(_Unwind_SetGR, unwinder);
    __typeof__(&_Unwind_SetIP) set_address = PEER_FIND(_Unwind_SetIP, unwinder);
    struct catcher catcher;
    if (version != 1 || !set_register || !set_address || !catcher_find(&catcher, exception))
        return _URC_CONTINUE_UNWIND;
    if ((actions & _UA_SEARCH_PHASE) != 0)
        return _URC_HANDLER_FOUND;
    if ((actions & _UA_HANDLER_FRAME) == 0)
        return _URC_CONTINUE_UNWIND; /* the forced unwinding of a thread that exits: not to be stopped */
    set_register(context, __builtin_eh_return_data_regno(0), 0);
    set_register(context, __builtin_eh_return_data_regno(1), (_Unwind_Word)exception);
    set_address(context, (_Unwind_Ptr)brim_guarded_landing);
    return _URC_INSTALL_CONTEXT;
}

static void *call_guarded(request_function function, const struct request *request)
{
    struct guarded_result result = brim_guarded_call(request, function);
    struct catcher catcher;
    if (result.exception && catcher_find(&catcher, result.exception)) {
        catcher.begin_catch(result.exception); /* it counts as caught, for std::uncaught_exceptions ... */
        catcher.end_catch();                   /* ... and is destroyed */
    }
    return result.block;
}

/* ---- Out of memory ---- */

/* Tries again after each call of the new-handler; NULL when none is left. */
static void *request_retry(const struct request *request)
{
    for (;;) {
        __typeof__(&_ZSt15get_new_handlerv) get_new_handler =
            RUNTIME_FIND(_ZSt15get_new_handlerv, request->caller);
        new_handler handler = get_new_handler ? get_new_handler() : NULL;
        if (!handler)
            return NULL;
        handler();
        void *p = request->alignment != 0 ? alloc_aligned(request->alignment, request->size)
                                          : alloc_allocate(request->size);
        if (p)
            return p;
    }
}

_Noreturn RARE void throw_bad_alloc(const void *caller)
{
    __typeof__(&_ZSt17__throw_bad_allocv) throw_it = RUNTIME_FIND(_ZSt17__throw_bad_allocv, caller);
    if (throw_it)
        throw_it();
    diag_warn("operator new: out of memory", "no C++ runtime to throw std::bad_alloc");
    abort();
}

RARE void *new_or_throw(size_t size, size_t alignment, const void *caller)
{
    struct request request = {.size = size, .alignment = alignment, .caller = caller};
    void *p = request_retry(&request);
    if (!p)
        throw_bad_alloc(caller);
    return p;
}

RARE void *new_or_null(size_t size, size_t alignment, const void *caller)
{
    struct request request = {.size = size, .alignment = alignment, .caller = caller};
    return call_guarded(request_retry, &request);
}

static void *request_replaced(const struct request *request)
{
    return request->aligned_replacement ? request->aligned_replacement(request->size, request->alignment)
                                        : request->replacement(request->size);
}

RARE void *replaced_or_null(void *(*replacement)(size_t), size_t size)
{
    struct request request = {.size = size, .replacement = replacement};
    return call_guarded(request_replaced, &request);
}

RARE void *aligned_replaced_or_null(void *(*replacement)(size_t, size_t), size_t size, size_t alignment)
{
    struct request request = {.size = size, .alignment = alignment, .aligned_replacement = replacement};
    return call_guarded(request_replaced, &request);
}

/* ---- The operators ----

   Each `own` function is what the exported name above it means unless the program replaces that name. */

#define OPERATOR EXPORT __attribute__((weak))
#define IS_OWN(name, own) likely(PUBLIC(name) == (own))

/* Who called the operator, for runtime_find. An operator that asked would need a frame on its fast path. When
   optimised it leaves by a jump, and what it jumps to returns to its caller: there `caller` is NULL, and the
   return address tells. */
#ifdef __OPTIMIZE__
#define CALLER NULL
#else
#define CALLER __builtin_return_address(0)
#endif
#define OR_RETURN_ADDRESS(caller) ((caller) ? (caller) : __builtin_return_address(0))

SLOW void *allocate_or_throw_slow(size_t size, const void *caller)
{
    void *p = allocate_more(size);
    return likely(p != NULL) ? p : new_or_throw(size, 0, OR_RETURN_ADDRESS(caller));
}

SLOW void *allocate_or_null_slow(size_t size, const void *caller)
{
    void *p = allocate_more(size);
    return likely(p != NULL) ? p : new_or_null(size, 0, OR_RETURN_ADDRESS(caller));
}

INLINE void *allocate_or_throw(size_t size)
{
    void *p = allocate_fast(size);
    return likely(p != NULL) ? p : allocate_or_throw_slow(size, CALLER);
}

INLINE void *allocate_or_null(size_t size)
{
    void *p = allocate_fast(size);
    return likely(p != NULL) ? p : allocate_or_null_slow(size, CALLER);
}

/* An alignment that is not a power of two is undefined in C++. It is a failed allocation here, as in
   libstdc++; no handler can help. */
SLOW void *aligned_or_throw_slow(size_t size, size_t alignment, const void *caller)
{
    if (unlikely(!is_power_of_two(alignment)))
        throw_bad_alloc(OR_RETURN_ADDRESS(caller));
    void *p = alloc_aligned(alignment, size);
    return likely(p != NULL) ? p : new_or_throw(size, alignment, OR_RETURN_ADDRESS(caller));
}

SLOW void *aligned_or_null_slow(size_t size, size_t alignment, const void *caller)
{
    if (unlikely(!is_power_of_two(alignment)))
        return NULL;
    void *p = alloc_aligned(alignment, size);
    return likely(p != NULL) ? p : new_or_null(size, alignment, OR_RETURN_ADDRESS(caller));
}

INLINE void *aligned_or_throw(size_t size, size_t alignment)
{
    return aligned_or_throw_slow(size, alignment, CALLER);
}

INLINE void *aligned_or_null(size_t size, size_t alignment)
{
    return aligned_or_null_slow(size, alignment, CALLER);
}

/* operator new(size_t) */
static void *new_own(size_t size) { return allocate_or_throw(size); }
OPERATOR void *PUBLIC(_Znwm)(size_t size) __attribute__((alias("new_own")));

/* operator new[](size_t) */
static void *new_array_own(size_t size)
{
    return IS_OWN(_Znwm, new_own) ? allocate_or_throw(size) : PUBLIC(_Znwm)(size);
}
OPERATOR void *PUBLIC(_Znam)(size_t size) __attribute__((alias("new_array_own")));

/* operator new(size_t, std::nothrow_t const &) */
OPERATOR void *PUBLIC(_ZnwmRKSt9nothrow_t)(size_t size, const void *nothrow)
{
    (void)nothrow;
    return IS_OWN(_Znwm, new_own) ? allocate_or_null(size) : replaced_or_null(PUBLIC(_Znwm), size);
}

/* operator new[](size_t, std::nothrow_t const &) */
OPERATOR void *PUBLIC(_ZnamRKSt9nothrow_t)(size_t size, const void *nothrow)
{
    (void)nothrow;
    return IS_OWN(_Znam, new_array_own) && IS_OWN(_Znwm, new_own) ? allocate_or_null(size)
                                                                  : replaced_or_null(PUBLIC(_Znam), size);
}

/* operator new(size_t, std::align_val_t) */
static void *aligned_new_own(size_t size, size_t alignment) { return aligned_or_throw(size, alignment); }
OPERATOR void *PUBLIC(_ZnwmSt11align_val_t)(size_t size, size_t alignment)
    __attribute__((alias("aligned_new_own")));

/* operator new[](size_t, std::align_val_t) */
static void *aligned_new_array_own(size_t size, size_t alignment)
{
    return IS_OWN(_ZnwmSt11align_val_t, aligned_new_own) ? aligned_or_throw(size, alignment)
                                                         : PUBLIC(_ZnwmSt11align_val_t)(size, alignment);
}
OPERATOR void *PUBLIC(_ZnamSt11align_val_t)(size_t size, size_t alignment)
    __attribute__((alias("aligned_new_array_own")));

/* operator new(size_t, std::align_val_t, std::nothrow_t const &) */
OPERATOR void *PUBLIC(_ZnwmSt11align_val_tRKSt9nothrow_t)(size_t size, size_t alignment, const void *nothrow)
{
    (void)nothrow;
    return IS_OWN(_ZnwmSt11align_val_t, aligned_new_own)
               ? aligned_or_null(size, alignment)
               : aligned_replaced_or_null(PUBLIC(_ZnwmSt11align_val_t), size, alignment);
}

/* operator new[](size_t, std::align_val_t, std::nothrow_t const &) */
OPERATOR void *PUBLIC(_ZnamSt11align_val_tRKSt9nothrow_t)(size_t size, size_t alignment, const void *nothrow)
{
    (void)nothrow;
    return IS_OWN(_ZnamSt11align_val_t, aligned_new_array_own) &&
                   IS_OWN(_ZnwmSt11align_val_t, aligned_new_own)
               ? aligned_or_null(size, alignment)
               : aligned_replaced_or_null(PUBLIC(_ZnamSt11align_val_t), size, alignment);
}

/* operator delete(void *) */
static void delete_own(void *p) { alloc_release(p); }
OPERATOR void PUBLIC(_ZdlPv)(void *p) __attribute__((alias("delete_own")));

/* operator delete[](void *) */
static void delete_array_own(void *p)
{
    if (IS_OWN(_ZdlPv, delete_own))
        alloc_release(p);
    else
        PUBLIC(_ZdlPv)(p);
}
OPERATOR void PUBLIC(_ZdaPv)(void *p) __attribute__((alias("delete_array_own")));

/* operator delete(void *, size_t) */
OPERATOR void PUBLIC(_ZdlPvm)(void *p, size_t size)
{
    if (IS_OWN(_ZdlPv, delete_own))
        alloc_release_sized(p, size);
    else
        PUBLIC(_ZdlPv)(p);
}

/* operator delete[](void *, size_t) */
OPERATOR void PUBLIC(_ZdaPvm)(void *p, size_t size)
{
    if (IS_OWN(_ZdaPv, delete_array_own) && IS_OWN(_ZdlPv, delete_own))
        alloc_release_sized(p, size);
    else
        PUBLIC(_ZdaPv)(p);
}

/* operator delete(void *, std::nothrow_t const &), for a new (std::nothrow) whose constructor throws */
OPERATOR void PUBLIC(_ZdlPvRKSt9nothrow_t)(void *p, const void *nothrow)
{
    (void)nothrow;
    PUBLIC(_ZdlPv)(p);
}

/* operator delete[](void *, std::nothrow_t const &) */
OPERATOR void PUBLIC(_ZdaPvRKSt9nothrow_t)(void *p, const void *nothrow)
{
    (void)nothrow;
    PUBLIC(_ZdaPv)(p);
}

/* operator delete(void *, std::align_val_t) */
static void aligned_delete_own(void *p, size_t alignment)
{
    (void)alignment;
    alloc_release(p);
}
OPERATOR void PUBLIC(_ZdlPvSt11align_val_t)(void *p, size_t alignment)
    __attribute__((alias("aligned_delete_own")));

/* operator delete[](void *, std::align_val_t) */
static void aligned_delete_array_own(void *p, size_t alignment)
{
    if (IS_OWN(_ZdlPvSt11align_val_t, aligned_delete_own))
        alloc_release(p);
    else
        PUBLIC(_ZdlPvSt11align_val_t)(p, alignment);
}
OPERATOR void PUBLIC(_ZdaPvSt11align_val_t)(void *p, size_t alignment)
    __attribute__((alias("aligned_delete_array_own")));

/* operator delete(void *, size_t, std::align_val_t) */
OPERATOR void PUBLIC(_ZdlPvmSt11align_val_t)(void *p, size_t size, size_t alignment)
{
    if (IS_OWN(_ZdlPvSt11align_val_t, aligned_delete_own))
        alloc_release_aligned_sized(p, alignment, size);
    else
        PUBLIC(_ZdlPvSt11align_val_t)(p, alignment);
}

/* operator delete[](void *, size_t, std::align_val_t) */
OPERATOR void PUBLIC(_ZdaPvmSt11align_val_t)(void *p, size_t size, size_t alignment)
{
    if (IS_OWN(_ZdaPvSt11align_val_t, aligned_delete_array_own) &&
        IS_OWN(_ZdlPvSt11align_val_t, aligned_delete_own))
        alloc_release_aligned_sized(p, alignment, size);
    else
        PUBLIC(_ZdaPvSt11align_val_t)(p, alignment);
}

/* operator delete(void *, std::align_val_t, std::nothrow_t const &) */
OPERATOR void PUBLIC(_ZdlPvSt11align_val_tRKSt9nothrow_t)(void *p, size_t alignment, const void *nothrow)
{
    (void)nothrow;
    PUBLIC(_ZdlPvSt11align_val_t)(p, alignment);
}

/* operator delete[](void *, std::align_val_t, std::nothrow_t const &) */
OPERATOR void PUBLIC(_ZdaPvSt11align_val_tRKSt9nothrow_t)(void *p, size_t alignment, const void *nothrow)
{
    (void)nothrow;
    PUBLIC(_ZdaPvSt11align_val_t)(p, alignment);
}
