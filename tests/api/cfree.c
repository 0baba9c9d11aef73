/* cfree: no longer declared and no longer linked against, but old programs still call it, so a replacement
   has to have it. glibc keeps it under its first version only; a replacement's has no version and is what
   dlsym finds. */
#include "blocks.h"

#include <dlfcn.h>

CONTRACT_OF(cfree);

#if defined(__x86_64__)
#define FIRST_LIBC_VERSION "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define FIRST_LIBC_VERSION "GLIBC_2.17"
#endif

typedef void (*release)(void *);

static release old_cfree(void)
{
    void *found = dlsym(RTLD_DEFAULT, "cfree");
    return (release)(found ? found : dlvsym(RTLD_DEFAULT, "cfree", FIRST_LIBC_VERSION));
}

Test(cfree, is_free)
{
    release cfree = old_cfree();
    cr_assert(cfree != NULL);
    size_t before = resident_bytes();
    for (int round = 0; round < 400; round++)
        for (size_t i = 0; i < COUNT_OF(boundary_sizes); i++) {
            unsigned char *block = malloc(boundary_sizes[i]);
            for (size_t at = 0; at < boundary_sizes[i]; at += 4096)
                block[at] = 1;
            errno = 4321;
            cfree(block);
            cr_assert_eq(errno, 4321);
        }
    cr_assert_lt(resident_bytes(), before + 24 * MIB);
    cfree(NULL);
}

/* A program that was linked with the old version must reach the same allocator that gave it the block. */
Test(cfree, belongs_to_the_allocator)
{
    Dl_info of_cfree, of_malloc;
    cr_assert_neq(dladdr((void *)(uintptr_t)old_cfree(), &of_cfree), 0);
    cr_assert_neq(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &of_malloc), 0);
    cr_assert_eq(of_cfree.dli_fbase, of_malloc.dli_fbase, "cfree is from %s, malloc from %s",
                 of_cfree.dli_fname, of_malloc.dli_fname);
}
