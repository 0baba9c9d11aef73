/* main.c: the workload program: every workload registered, run by Google Benchmark. It says which file its
   malloc comes from, so that the runner can tell a preload that silently failed. */
#include "main.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "workload.h"

struct command_line command_line = {.scale = 1};

#define WORKLOAD(name) void register_##name(void);
#include "workloads.def"
#undef WORKLOAD

static void (*const workloads[])(void) = {
#define WORKLOAD(name) register_##name,
#include "workloads.def"
#undef WORKLOAD
};

/* The file that `name` is bound to in this process, as the dynamic linker knows it. */
static const char *file_of(const char *name)
{
    Dl_info information;
    void *address = dlsym(RTLD_DEFAULT, name);
    if (!address || !dladdr(address, &information) || !information.dli_fname)
        return "";
    return information.dli_fname;
}

static void write_allocator(void)
{
    FILE *file = fopen(command_line.report, "a");
    if (!file)
        workload_fail("cannot write the report file");
    fprintf(file, "{\"malloc\": \"%s\", \"free\": \"%s\"}\n", file_of("malloc"), file_of("free"));
    if (fclose(file) != 0)
        workload_fail("cannot write the report file");
}

static void find_folder(void)
{
    static char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0)
        workload_fail("cannot read /proc/self/exe");
    path[length] = 0;
    *strrchr(path, '/') = 0;
    command_line.folder = path;
}

/* Takes our own flags out of argv, so that the library sees only its own. */
static int parse_own(int argc, char **argv)
{
    int kept = 1;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--scale=", 8) == 0) {
            char *end;
            command_line.scale = strtod(argv[i] + 8, &end);
            if (*end || !(command_line.scale > 0 && command_line.scale <= 1e6)) {
                fprintf(stderr, "workloads: %s is not a positive number\n", argv[i]);
                exit(2);
            }
        } else if (strncmp(argv[i], "--report=", 9) == 0) {
            command_line.report = argv[i] + 9;
        } else {
            argv[kept++] = argv[i];
        }
    }
    argv[kept] = NULL;
    return kept;
}

int main(int argc, char **argv)
{
    argc = parse_own(argc, argv);
    find_folder();
    if (command_line.report)
        write_allocator();
    gbench_parse(&argc, argv);
    gbench_add_context("allocator", file_of("malloc"));
    for (size_t i = 0; i < COUNT_OF(workloads); i++)
        workloads[i]();
    int ran = gbench_run(argc, argv);
    if (ran < 0)
        return 2;
    if (ran == 0) {
        fprintf(stderr, "workloads: no workload matches the filter\n");
        return 2;
    }
    return 0;
}
