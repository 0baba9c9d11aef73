/* os.c: each call's effect on memory, its failures, and that errno survives all of them. */
#include "unit.h"

#include "allocator/base.h"

#include "allocator/os.c"

#include "seccomp.h"

static void os_begin(void) { os_init(); }

TestSuite(os, .init = os_begin);

/* Evaluates the expression and checks that errno is what it was, whatever it was. */
#define KEEPS_ERRNO(expression)                                                                              \
    (errno = EXDEV, (expression) ? (check(errno == EXDEV), true) : (check(errno == EXDEV), false))

static size_t resident_pages(uintptr_t address, size_t size)
{
    unsigned char vector[256];
    size_t resident = 0;
    check(size / os_page_size <= sizeof vector);
    check(mincore((void *)address, size, vector) == 0);
    for (size_t i = 0; i < size / os_page_size; i++)
        resident += vector[i] & 1;
    return resident;
}

static bool is_zero(uintptr_t address, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)address;
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static void expect_fault(uintptr_t address)
{
    struct child child = child_begin();
    if (child.process == 0) {
        *(volatile char *)address = 1;
        _exit(0);
    }
    child_expect(&child, -SIGSEGV, "", __FILE__, __LINE__);
}

Test(os, init)
{
    check(os_page_size == (size_t)sysconf(_SC_PAGESIZE) && SLICE_SIZE % os_page_size == 0);
    check(os_init() == os_init()); /* the same all through a process */
    check(os_init() != 0);
}

/* Where the kernel has markers: pages that fault, and are zero when they are opened. */
Test(os, guards)
{
    uintptr_t address = os_map(4 * os_page_size), middle = address + os_page_size;
    memset((void *)address, 7, 4 * os_page_size);
    if (!KEEPS_ERRNO(os_guard_install(middle, 2 * os_page_size)))
        cr_skip_test("this kernel has no MADV_GUARD_INSTALL");
    expect_fault(middle);
    expect_fault(middle + 2 * os_page_size - 1);
    check(*(char *)address == 7 && *(char *)(middle + 2 * os_page_size) == 7);
    check(KEEPS_ERRNO(os_guard_remove(middle, os_page_size)));
    check(is_zero(middle, os_page_size));
    expect_fault(middle + os_page_size);
    check(os_unmap(address, 4 * os_page_size));
    check(!KEEPS_ERRNO(os_guard_install(middle, os_page_size)));
}

Test(os, sealed)
{
    uintptr_t address = os_map(os_page_size);
    *(char *)address = 7;
    check(KEEPS_ERRNO(os_seal(address, os_page_size)));
    expect_fault(address);
    check(os_commit(address, os_page_size) && *(char *)address == 7);
    check(os_unmap(address, os_page_size) && !KEEPS_ERRNO(os_seal(address, os_page_size)));
}

Test(os, threads_and_time)
{
    check(os_thread() == getpid());
    uint64_t before = os_now_ns();
    usleep(2000);
    check(os_now_ns() - before >= 2000000);
}

Test(os, break_moves_and_comes_back)
{
    uintptr_t now = os_break();
    check(now == (uintptr_t)sbrk(0));
    check(KEEPS_ERRNO(os_break_move(3 * SLICE_SIZE) == now));
    check(os_break() == now + 3 * SLICE_SIZE && (uintptr_t)sbrk(0) == os_break());
    check(is_zero(now, 3 * SLICE_SIZE));
    memset((void *)now, 1, 3 * SLICE_SIZE);
    check(KEEPS_ERRNO(os_break_move(-(intptr_t)(2 * SLICE_SIZE)) == now + 3 * SLICE_SIZE));
    check(os_break() == now + SLICE_SIZE);
    expect_fault(align_up(now + SLICE_SIZE, os_page_size));
    check(os_break_move(2 * SLICE_SIZE) == now + SLICE_SIZE);
    uintptr_t fresh = align_up(now + SLICE_SIZE, os_page_size);
    check(is_zero(fresh, os_break() - fresh)); /* what was given back comes back zero */
}

Test(os, break_that_cannot_move)
{
    uintptr_t now = os_break();
    check(KEEPS_ERRNO(os_break_move(INTPTR_MAX) == 0));
    check(KEEPS_ERRNO(os_break_move(INTPTR_MIN) == 0));
    check(os_break() == now);
    uintptr_t above = align_up(now, os_page_size);
    void *blocker = mmap((void *)above, os_page_size, PROT_READ,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    check(blocker == (void *)above);
    check(KEEPS_ERRNO(os_break_move(2 * SLICE_SIZE) == 0));
    check(os_break() == now);
    munmap(blocker, os_page_size);
    check(os_break_move(2 * SLICE_SIZE) == now);
}

/* A sandbox's errors are no addresses, though libc takes them for such. */
Test(os, break_in_a_sandbox)
{
    static const unsigned errors[] = {0, EPERM, ENOSYS, ENOMEM};
    require_seccomp();
    for (size_t i = 0; i < COUNT_OF(errors); i++)
        expect_in_child({
            uintptr_t now = os_break();
            forbid_brk(errors[i]);
            check(KEEPS_ERRNO(os_break_move(2 * SLICE_SIZE) == 0));
            check(KEEPS_ERRNO(os_break_move(2 * SLICE_SIZE) == 0));
            check(os_break() == 0 || os_break() == now);
        });
    for (size_t i = 0; i < COUNT_OF(errors); i++)
        expect_in_child({
            os_break_move(4 * SLICE_SIZE);
            forbid_brk(errors[i]);
            check(KEEPS_ERRNO(os_break_move(-(intptr_t)SLICE_SIZE) == 0));
        });
}

Test(os, map_is_zero_and_not_resident)
{
    size_t size = 64 * os_page_size;
    uintptr_t address = os_map(size);
    check(address != 0 && address % os_page_size == 0);
    check(resident_pages(address, size) == 0 && is_zero(address, size));
    memset((void *)address, 1, size);
    check(KEEPS_ERRNO(os_unmap(address, size)));
    expect_fault(address);
}

Test(os, reserve_and_commit)
{
    size_t size = 16 * os_page_size;
    uintptr_t address = os_reserve(size);
    check(address != 0);
    expect_fault(address);
    check(KEEPS_ERRNO(os_commit(address + 4 * os_page_size, 2 * os_page_size)));
    expect_fault(address + 3 * os_page_size);
    expect_fault(address + 6 * os_page_size);
    check(is_zero(address + 4 * os_page_size, 2 * os_page_size));
    memset((void *)(address + 4 * os_page_size), 1, 2 * os_page_size);
    check(os_unmap(address, size));
}

Test(os, failures)
{
    check(KEEPS_ERRNO(os_map(SIZE_MAX / 2 & ~(os_page_size - 1)) == 0));
    check(KEEPS_ERRNO(os_map(0) == 0));
    check(KEEPS_ERRNO(os_reserve(SIZE_MAX & ~(os_page_size - 1)) == 0));
    uintptr_t address = os_map(4 * os_page_size);
    check(!KEEPS_ERRNO(os_unmap(address + 1, os_page_size)));
    check(KEEPS_ERRNO(os_remap(address, 4 * os_page_size, SIZE_MAX / 2 & ~(os_page_size - 1)) == 0));
    memset((void *)address, 1, 4 * os_page_size); /* still there */
    check(os_unmap(address, 4 * os_page_size));
    check(!KEEPS_ERRNO(os_commit(address, os_page_size)));
    check(!KEEPS_ERRNO(os_discard(address, os_page_size)));
}

/* What is opened in a reservation is accounted for, as what is mapped at once is. */
Test(os, no_more_than_there_is)
{
    size_t whole = (size_t)sysconf(_SC_PHYS_PAGES) * os_page_size * 16;
    uintptr_t address = os_reserve(whole);
    check(address != 0);
    uintptr_t mapped = os_map(whole);
    check(os_commit(address, whole) == (mapped != 0)); /* the kernel's policy decides, once */
}

Test(os, remap)
{
    size_t page = os_page_size;
    uintptr_t address = os_map(8 * page);
    for (size_t i = 0; i < 8; i++)
        memset((void *)(address + i * page), (int)i + 1, page);
    uintptr_t smaller = os_remap(address, 8 * page, 3 * page);
    check(smaller == address);
    expect_fault(address + 3 * page);
    uintptr_t larger = KEEPS_ERRNO((address = os_remap(smaller, 3 * page, 1000 * page)) != 0) ? address : 0;
    check(larger != 0);
    for (size_t i = 0; i < 3; i++)
        check(*(char *)(larger + i * page) == (char)(i + 1) &&
              *(char *)(larger + (i + 1) * page - 1) == (char)(i + 1));
    check(is_zero(larger + 3 * page, 997 * page));
    check(os_unmap(larger, 1000 * page));
}

Test(os, discard)
{
    size_t size = 16 * os_page_size;
    uintptr_t address = os_map(size);
    memset((void *)address, 1, size);
    check(resident_pages(address, size) == 16);
    check(KEEPS_ERRNO(os_discard(address + 4 * os_page_size, 8 * os_page_size)));
    check(resident_pages(address, size) == 8);
    check(is_zero(address + 4 * os_page_size, 8 * os_page_size));
    check(*(char *)address == 1 && *(char *)(address + size - 1) == 1);
}

Test(os, discard_of_locked_memory)
{
    uintptr_t address = os_map(os_page_size);
    memset((void *)address, 1, os_page_size);
    check(mlock((void *)address, os_page_size) == 0);
    check(!KEEPS_ERRNO(os_discard(address, os_page_size)));
    check(*(char *)address == 1);
}

Test(os, address_space_limit)
{
    struct rlimit limit;
    check(getrlimit(RLIMIT_AS, &limit) == 0);
    check(KEEPS_ERRNO(os_address_space_limit() != 0));
    check(os_address_space_limit() == (limit.rlim_cur == RLIM_INFINITY ? SIZE_MAX : limit.rlim_cur));
    limit.rlim_cur = (rlim_t)8 << 30;
    check(setrlimit(RLIMIT_AS, &limit) == 0);
    check(os_address_space_limit() == (size_t)8 << 30);
}

Test(os, clock)
{
    uint64_t before = os_now_ms();
    struct timespec pause = {0, 50 * 1000 * 1000};
    nanosleep(&pause, NULL);
    check(os_now_ms() >= before + 25);
}
