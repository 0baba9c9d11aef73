/* startup: what an allocator costs a program that hardly allocates: shell scripts and builds start thousands
   of them. "empty" is a program that does nothing; "short" allocates 200 small blocks, prints a line and
   ends. Each iteration starts one process under the same preload and waits for it; 1,000 of them at full
   scale. After the start-up measurements in the documentation of musl ("Comparison of C/POSIX standard
   library implementations", Felker). */
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../main.h"
#include "../workload.h"

extern char **environ;

static void start(const char *kind, int64_t count)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/short_process", command_line.folder);
    char *arguments[] = {path, (char *)(uintptr_t)kind, NULL};
    for (int64_t i = 0; i < count; i++) {
        pid_t pid;
        int status;
        if (posix_spawn(&pid, path, NULL, NULL, arguments, environ) != 0)
            workload_fail("cannot start short_process, which is built beside this program");
        if (waitpid(pid, &status, 0) != pid || status != 0)
            workload_fail("a short process failed");
    }
}

static void run(gbench_state *state, void *context)
{
    start(context, 5);
    for (int64_t n; (n = gbench_loop(state)) > 0;)
        start(context, n);
}

void register_startup(void)
{
    static char empty[] = "empty", brief[] = "short";
    gbench *benchmarks[] = {gbench_register("startup/empty", run, empty),
                            gbench_register("startup/short", run, brief)};
    for (size_t i = 0; i < COUNT_OF(benchmarks); i++) {
        gbench_iterations(benchmarks[i], scaled(1000, 50));
        gbench_time_unit(gbench_use_real_time(benchmarks[i]), GBENCH_MICROSECOND);
    }
}
