/* os_heap.c: see os_heap.h. By bare system calls where libc's functions are cancellation points. */
#include "os_heap.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

/* The result of a call, or minus its error number; errno is put back. */
LAST static long os_result(long result, int saved_errno)
{
    long answer = result == -1 ? -(long)errno : result;
    errno = saved_errno;
    return answer;
}
#define OS_RESULT(call)                                                                                                \
    __extension__({                                                                                                    \
        int saved_ = errno;                                                                                            \
        long result_ = (long)(call);                                                                                   \
        os_result(result_, saved_);                                                                                    \
    })

/* ---- mappings ---- */

LAST static uintptr_t os_reserve_alone(size_t size, size_t alignment)
{
    size_t asked = size + alignment + os_page_size;
    uintptr_t got = os_reserve(asked);
    if (!got)
        return 0;
    uintptr_t address = align_up(got + os_page_size, alignment);
    uintptr_t below = address - os_page_size, end = address + size + os_page_size;
    if (below > got)
        os_unmap(got, below - got);
    if (end < got + asked)
        os_unmap(end, got + asked - end);
    return address;
}

LAST static void os_unreserve_alone(uintptr_t address, size_t size)
{
    os_unmap(address - os_page_size, size + 2 * os_page_size);
}

LAST static int os_map_over(uintptr_t address, size_t size, int flags, int file)
{
    int saved_errno = errno;
    void *p = mmap((void *)address, size, PROT_READ | PROT_WRITE, MAP_FIXED | flags, file, 0);
    return (int)os_result(p == MAP_FAILED ? -1 : 0, saved_errno);
}

LAST static int os_map_family(uintptr_t address, size_t size)
{
    return os_map_over(address, size, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}

LAST static int os_map_file(uintptr_t address, size_t size, int file, bool shared)
{
    return os_map_over(address, size, shared ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE, file);
}

LAST static int os_lock_memory(uintptr_t address, size_t size)
{
    if (!os_commit(address, size))
        return -ENOMEM;
    return (int)OS_RESULT(mlock((void *)address, size));
}

LAST static int os_wipe_on_fork(uintptr_t address, size_t size)
{
    return (int)OS_RESULT(madvise((void *)address, size, MADV_WIPEONFORK));
}

LAST static int os_keep_secret(uintptr_t address, size_t size)
{
    int failed = (int)OS_RESULT(madvise((void *)address, size, MADV_DONTDUMP));
    return failed ? failed : os_wipe_on_fork(address, size);
}

LAST static bool os_discard_family(uintptr_t address, size_t size)
{
    return OS_RESULT(madvise((void *)address, size, MADV_REMOVE)) == 0;
}

LAST static void os_name_memory(uintptr_t address, size_t size, const char *name)
{
    (void)OS_RESULT(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, address, size, name));
}

LAST static int os_sync_memory(uintptr_t address, size_t size)
{
    return (int)OS_RESULT(syscall(SYS_msync, address, size, MS_SYNC));
}

/* ---- files ---- */

LAST static int os_file_open(const char *path, enum os_file_mode mode, unsigned permissions)
{
    /* Not blocking: for what is no regular file, and refused below. */
    int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (mode == OS_FILE_READ ? O_RDONLY : O_RDWR) |
                (mode == OS_FILE_CREATE ? O_CREAT : 0);
    long file;
    do
        file = OS_RESULT(syscall(SYS_openat, AT_FDCWD, path, flags, permissions));
    while (file == -EINTR);
    if (file < 0)
        return (int)file;
    enum { KNOWN_BY_NUMBER = 64 }; /* shells and daemons name, or close, low ones */
    long above = OS_RESULT(syscall(SYS_fcntl, (int)file, F_DUPFD_CLOEXEC, KNOWN_BY_NUMBER));
    if (above >= 0) {
        os_file_close((int)file);
        file = above;
    }
    struct stat status;
    long failed = OS_RESULT(fstat((int)file, &status));
    if (failed == 0 && !S_ISREG(status.st_mode))
        failed = S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL;
    if (failed == 0)
        return (int)file;
    os_file_close((int)file);
    return (int)failed;
}

LAST static void os_file_close(int file) { (void)OS_RESULT(syscall(SYS_close, file)); }

LAST static int os_file_facts(int file, struct os_file_facts *facts)
{
    struct stat status;
    long failed = OS_RESULT(fstat(file, &status));
    if (failed)
        return (int)failed;
    enum { STAT_UNIT = 512 };
    *facts = (struct os_file_facts){.device = status.st_dev,
                                    .inode = status.st_ino,
                                    .size = (size_t)status.st_size,
                                    .stored = (size_t)status.st_blocks * STAT_UNIT};
    return 0;
}

LAST static long os_file_read(int file, void *to, size_t size, size_t offset)
{
    size_t done = 0;
    while (done < size) {
        long part = OS_RESULT(syscall(SYS_pread64, file, (char *)to + done, size - done, offset + done));
        if (part == -EINTR)
            continue;
        if (part < 0)
            return part;
        if (part == 0)
            break;
        done += (size_t)part;
    }
    return (long)done;
}

/* For file systems that cannot reserve: writes zeros behind the end of the file, where nobody has anything yet. */
LAST static int file_fill(int file, size_t from, size_t end)
{
    static const LAST_CONSTANT char zeros[4 * KIB] = {0};
    while (from < end) {
        long part = OS_RESULT(syscall(SYS_pwrite64, file, zeros, min_size(sizeof zeros, end - from), from));
        if (part == -EINTR)
            continue;
        if (part <= 0)
            return part == 0 ? -ENOSPC : (int)part;
        from += (size_t)part;
    }
    return 0;
}

LAST static int os_file_reserve(int file, size_t from, size_t size)
{
    long failed;
    do
        failed = OS_RESULT(syscall(SYS_fallocate, file, 0, from, size));
    while (failed == -EINTR);
    if (failed != -EOPNOTSUPP && failed != -ENOSYS)
        return (int)failed;
    struct os_file_facts facts;
    failed = os_file_facts(file, &facts);
    return failed ? (int)failed : file_fill(file, max_size(from, facts.size), from + size);
}

LAST static int os_file_truncate(int file, size_t size) { return (int)OS_RESULT(ftruncate(file, (off_t)size)); }

/* One byte for each lock, far behind any file's end. */
LAST static struct flock file_lock(enum os_file_lock which, int type)
{
    enum { FAR = 62 };
    return (struct flock){
        .l_type = (short)type, .l_whence = SEEK_SET, .l_start = ((off_t)1 << FAR) + (off_t)which, .l_len = 1};
}

LAST static int os_file_lock(int file, enum os_file_lock which, bool exclusive, bool wait)
{
    struct flock lock = file_lock(which, exclusive ? F_WRLCK : F_RDLCK);
    long failed;
    do
        failed = OS_RESULT(syscall(SYS_fcntl, file, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock));
    while (failed == -EINTR);
    return (int)failed;
}

LAST static void os_file_unlock(int file, enum os_file_lock which)
{
    struct flock lock = file_lock(which, F_UNLCK);
    (void)OS_RESULT(syscall(SYS_fcntl, file, F_OFD_SETLK, &lock));
}

LAST static bool os_file_lock_is_held(int file, enum os_file_lock which)
{
    struct flock lock = file_lock(which, F_WRLCK);
    return OS_RESULT(syscall(SYS_fcntl, file, F_OFD_GETLK, &lock)) == 0 && lock.l_type != F_UNLCK;
}

/* ---- processes ---- */

/* Reads a small file of /proc whole; its length, 0 if there is none. `text` ends with a zero. */
LAST static size_t proc_read(const char *path, char *text, size_t size)
{
    long file = OS_RESULT(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
    if (file < 0)
        return 0;
    long length = os_file_read((int)file, text, size - 1, 0);
    os_file_close((int)file);
    text[length > 0 ? length : 0] = '\0';
    return length > 0 ? (size_t)length : 0;
}

LAST static uint64_t parse_number(const char *text)
{
    uint64_t number = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (uint64_t)(*text - '0');
    return number;
}

struct process_facts {
    char state;
    uint64_t threads, start;
};

/* proc(5): the second field is the name in parentheses, which may hold anything. */
LAST static bool process_facts(uint32_t pid, struct process_facts *facts)
{
    char path[32] = "/proc/", text[1024], digits[12];
    size_t length = 6, count = 0;
    do
        digits[count++] = (char)('0' + pid % 10);
    while ((pid /= 10) != 0);
    while (count > 0)
        path[length++] = digits[--count];
    memcpy(path + length, "/stat", sizeof "/stat");
    if (proc_read(path, text, sizeof text) == 0)
        return false;
    char *at = strrchr(text, ')');
    if (!at || at[1] != ' ')
        return false;
    enum { STATE = 3, THREADS = 20, START = 22 };
    at += 2;
    facts->state = *at;
    for (int field = STATE; field < START && at; field++) {
        if (field == THREADS)
            facts->threads = parse_number(at);
        at = strchr(at, ' ');
        at = at ? at + 1 : NULL;
    }
    if (!at)
        return false;
    facts->start = parse_number(at);
    return true;
}

/* Start times are hundredths of a second since the boot: 42 bits are a thousand years. */
enum { IDENTITY_PID_BITS = 22 };

LAST static uint64_t os_process_identity(void)
{
    uint32_t pid = (uint32_t)syscall(SYS_getpid);
    struct process_facts facts = {.start = 0};
    process_facts(pid, &facts);
    return facts.start << IDENTITY_PID_BITS | pid;
}

LAST static bool os_process_is_dead(uint64_t identity)
{
    uint32_t pid = identity & ((1u << IDENTITY_PID_BITS) - 1);
    struct process_facts facts;
    if (!process_facts(pid, &facts))
        return OS_RESULT(kill((pid_t)pid, 0)) == -ESRCH;
    if (identity >> IDENTITY_PID_BITS != 0 && facts.start != identity >> IDENTITY_PID_BITS)
        return true;
    /* A zombie may be a first thread that has ended before the others. */
    return facts.state == 'X' || (facts.state == 'Z' && facts.threads <= 1);
}

LAST static uint64_t os_process_realm(void)
{
    char text[128];
    uint64_t hash = 0xcbf29ce484222325;
    size_t length = proc_read("/proc/sys/kernel/random/boot_id", text, sizeof text);
    struct stat status = {.st_ino = 0};
    (void)OS_RESULT(stat("/proc/self/ns/pid", &status));
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3;
    hash = (hash ^ status.st_ino) * 0x9e3779b97f4a7c15;
    return hash | 1;
}

/* ---- waiting across processes ---- */

LAST static void os_wait_shared(_Atomic uint32_t *word, uint32_t value)
{
    struct timespec patience = {0, 10 * 1000 * 1000};
    (void)OS_RESULT(syscall(SYS_futex, word, FUTEX_WAIT, value, &patience, NULL, 0));
}

LAST static void os_wake_shared(_Atomic uint32_t *word)
{
    (void)OS_RESULT(syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0));
}

/* ---- /proc/self/smaps ---- */

LAST static uintptr_t parse_hexadecimal(const char **text)
{
    uintptr_t number = 0;
    for (;; (*text)++) {
        char c = **text;
        if (c >= '0' && c <= '9')
            number = number << 4 | (uintptr_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            number = number << 4 | (uintptr_t)(c - 'a' + 10);
        else
            return number;
    }
}

/* Adds what one line says. `*inside`: the lines are about a mapping in the range. */
LAST static void smaps_line(const char *line, uintptr_t address, size_t size, bool *inside, struct os_memory_facts *facts)
{
    if ((*line >= '0' && *line <= '9') || (*line >= 'a' && *line <= 'f')) {
        uintptr_t from = parse_hexadecimal(&line);
        *inside = from - address < size;
        return;
    }
    if (!*inside)
        return;
    const struct {
        const char *name;
        size_t *sum;
    } rows[] = {
        {"Rss:", &facts->resident},         {"Pss:", &facts->proportional},
        {"Shared_Clean:", &facts->shared},  {"Private_Clean:", &facts->unshared},
        {"Shared_Dirty:", &facts->shared},  {"Private_Dirty:", &facts->unshared},
        {"Shared_Dirty:", &facts->dirty},   {"Private_Dirty:", &facts->dirty},
        {"Swap:", &facts->swapped},         {"Locked:", &facts->locked},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t length = strlen(rows[i].name);
        if (strncmp(line, rows[i].name, length) != 0)
            continue;
        const char *number = line + length;
        while (*number == ' ')
            number++;
        *rows[i].sum += parse_number(number) * KIB;
    }
}

LAST static bool os_memory_facts(uintptr_t address, size_t size, struct os_memory_facts *facts)
{
    *facts = (struct os_memory_facts){0};
    long file = OS_RESULT(syscall(SYS_openat, AT_FDCWD, "/proc/self/smaps", O_RDONLY | O_CLOEXEC));
    if (file < 0)
        return false;
    char buffer[4 * KIB];
    size_t held = 0;
    bool inside = false;
    for (;;) {
        long part = OS_RESULT(syscall(SYS_read, (int)file, buffer + held, sizeof buffer - 1 - held));
        if (part == -EINTR)
            continue;
        if (part <= 0)
            break;
        held += (size_t)part;
        buffer[held] = '\0';
        char *line = buffer;
        for (char *end; (end = strchr(line, '\n')); line = end + 1) {
            *end = '\0';
            smaps_line(line, address, size, &inside, facts);
        }
        held -= (size_t)(line - buffer);
        memmove(buffer, line, held);
        if (held == sizeof buffer - 1)
            held = 0; /* no line of interest is so long */
    }
    os_file_close((int)file);
    return true;
}
