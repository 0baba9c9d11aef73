/* launch: runs one program and measures it from outside, for the runner. A small program of its own because
   the kernel counts the peak memory of whoever called fork into the child's figure until exec, and a Python
   with plotting libraries would drown what is measured.

   usage: launch --result=FILE [--output=FILE] [--timeout=SECONDS] [--memory-limit=MIB]
                 [--sample=MILLISECONDS] [--user=NAME] [--env=NAME=VALUE]... -- PROGRAM [ARGUMENT]...

   The environment of --env is for the program only: an LD_PRELOAD among it never reaches this one. Time limit
   and memory limit (resident memory of the program and all its descendants, so that an allocator may reserve
   as much address space as it likes) kill the whole family. Nothing that the program started is left behind,
   whatever happens, not even when the runner dies. The result is one JSON object. Exit status: 0 if the
   program ran, whatever became of it; 2 otherwise. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLES = 2048, ENVIRONMENT = 64 };

static struct {
    const char *result, *output, *user;
    double timeout, sample;
    size_t memory_limit;
    char *environment[ENVIRONMENT];
    int environment_count;
} options = {.sample = 0.02};

static struct {
    double seconds;
    size_t bytes;
} samples[SAMPLES];
static size_t sample_count;

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number)
{
    interrupted = signal_number;
}

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "launch: %s: %s\n", what, strerror(errno));
    exit(2);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static size_t resident_bytes(pid_t pid)
{
    char path[64], text[128];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0)
        return 0;
    text[length] = 0;
    const char *second = strchr(text, ' ');
    return second ? strtoul(second + 1, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

/* Calls `visit` for each descendant of `pid`, children before their own children. The file lists end with the
   process that ends meanwhile; that is as good an answer as any. */
static void visit_descendants(pid_t pid, void (*visit)(pid_t pid, void *argument), void *argument)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (!tasks)
        return;
    for (struct dirent *task; (task = readdir(tasks));) {
        if (!isdigit((unsigned char)task->d_name[0]))
            continue;
        char children_path[96];
        snprintf(children_path, sizeof children_path, "/proc/%d/task/%.20s/children", (int)pid, task->d_name);
        FILE *children = fopen(children_path, "re");
        if (!children)
            continue;
        for (int child; fscanf(children, "%d", &child) == 1;) {
            visit((pid_t)child, argument);
            visit_descendants((pid_t)child, visit, argument);
        }
        fclose(children);
    }
    closedir(tasks);
}

static void add_resident(pid_t pid, void *sum)
{
    *(size_t *)sum += resident_bytes(pid);
}

static void kill_process(pid_t pid, void *unused)
{
    (void)unused;
    kill(pid, SIGKILL);
}

/* All descendants of this process, also those that left the program's process group or lost their parent:
   orphans come to us, because we are the subreaper. Repeated until none is left that could have forked
   meanwhile. */
static void kill_family(void)
{
    for (int round = 0; round < 100; round++) {
        visit_descendants(getpid(), kill_process, NULL);
        pid_t reaped;
        while ((reaped = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
        if (reaped < 0 && errno == ECHILD)
            return;
        struct timespec pause = {.tv_nsec = 1000000};
        nanosleep(&pause, NULL);
    }
}

/* When the table is full every second sample is dropped, and from there on half as many are taken. */
static void record_sample(double seconds, size_t bytes)
{
    if (sample_count == SAMPLES) {
        for (size_t i = 0; i < SAMPLES / 2; i++)
            samples[i] = samples[2 * i];
        sample_count = SAMPLES / 2;
        options.sample *= 2;
    }
    samples[sample_count].seconds = seconds;
    samples[sample_count++].bytes = bytes;
}

static _Noreturn void become(char **argv)
{
    setpgid(0, 0);
    int input = open("/dev/null", O_RDONLY);
    if (input < 0 || dup2(input, STDIN_FILENO) < 0)
        die("/dev/null");
    if (options.output) {
        int output = open(options.output, O_WRONLY | O_CREAT | O_APPEND, 0666);
        if (output < 0 || dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0)
            die(options.output);
    }
    if (options.user) {
        struct passwd *entry = getpwnam(options.user);
        if (!entry || initgroups(options.user, entry->pw_gid) != 0 || setgid(entry->pw_gid) != 0 ||
            setuid(entry->pw_uid) != 0)
            die(options.user);
    }
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    for (int i = 0; i < options.environment_count; i++)
        putenv(options.environment[i]);
    execvp(argv[0], argv);
    fprintf(stderr, "launch: %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static void write_result(const char *verdict, int code, double wall, const struct rusage *usage, size_t peak)
{
    FILE *file = fopen(options.result, "w");
    if (!file)
        die(options.result);
    fprintf(
        file,
        "{\"verdict\": \"%s\", \"code\": %d, \"wall\": %.9f, \"user\": %ld.%06ld, \"system\": %ld.%06ld,\n"
        " \"peak_rss\": %ld, \"family_peak_rss\": %zu, \"minor_faults\": %ld, \"major_faults\": %ld,\n"
        " \"voluntary_switches\": %ld, \"involuntary_switches\": %ld,\n \"rss\": [",
        verdict, code, wall, (long)usage->ru_utime.tv_sec, (long)usage->ru_utime.tv_usec,
        (long)usage->ru_stime.tv_sec, (long)usage->ru_stime.tv_usec, usage->ru_maxrss * 1024, peak,
        usage->ru_minflt, usage->ru_majflt, usage->ru_nvcsw, usage->ru_nivcsw);
    for (size_t i = 0; i < sample_count; i++)
        fprintf(file, "%s[%.3f, %zu]", i ? ", " : "", samples[i].seconds, samples[i].bytes);
    fprintf(file, "]}\n");
    if (fclose(file) != 0)
        die(options.result);
}

static void measure(char **argv)
{
    pid_t runner = getppid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != runner)
        exit(2);
    struct sigaction action = {.sa_handler = interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    double start = now();
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0)
        become(argv);
    int handle = (int)syscall(SYS_pidfd_open, pid, 0);
    if (handle < 0)
        die("pidfd_open");

    const char *verdict = NULL;
    size_t peak = 0;
    while (!verdict) {
        struct pollfd ended = {.fd = handle, .events = POLLIN};
        int ready = poll(&ended, 1, (int)(options.sample * 1000));
        double elapsed = now() - start;
        if (interrupted)
            verdict = "interrupted";
        else if (ready > 0)
            break;
        else if (options.timeout > 0 && elapsed > options.timeout)
            verdict = "timeout";
        size_t bytes = resident_bytes(pid);
        visit_descendants(pid, add_resident, &bytes);
        record_sample(elapsed, bytes);
        if (bytes > peak)
            peak = bytes;
        if (!verdict && options.memory_limit && bytes > options.memory_limit)
            verdict = "memory";
    }
    double wall = now() - start;
    if (verdict) {
        visit_descendants(getpid(), kill_process, NULL);
        kill(pid, SIGKILL);
    }
    int status;
    struct rusage usage;
    while (wait4(pid, &status, 0, &usage) < 0 && errno == EINTR)
        ;
    kill_family();
    int code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
    if (!verdict)
        verdict = WIFSIGNALED(status) ? "signal" : code != 0 ? "exit" : "ok";
    write_result(verdict, code, wall, &usage, peak);
}

static void parse(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"result", required_argument, NULL, 'r'},       {"output", required_argument, NULL, 'o'},
        {"timeout", required_argument, NULL, 't'},      {"sample", required_argument, NULL, 's'},
        {"memory-limit", required_argument, NULL, 'm'}, {"user", required_argument, NULL, 'u'},
        {"env", required_argument, NULL, 'e'},          {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "+", long_options, NULL)) != -1;) {
        switch (option) {
        case 'r':
            options.result = optarg;
            break;
        case 'o':
            options.output = optarg;
            break;
        case 't':
            options.timeout = atof(optarg);
            break;
        case 's':
            options.sample = atof(optarg) / 1000;
            break;
        case 'm':
            options.memory_limit = strtoul(optarg, NULL, 10) << 20;
            break;
        case 'u':
            options.user = optarg;
            break;
        case 'e':
            if (options.environment_count == ENVIRONMENT) {
                fprintf(stderr, "launch: too many --env\n");
                exit(2);
            }
            options.environment[options.environment_count++] = optarg;
            break;
        default:
            exit(2);
        }
    }
    if (!options.result || optind == argc || options.sample < 0.001) {
        fprintf(stderr, "usage: launch --result=FILE [OPTION]... -- PROGRAM [ARGUMENT]...\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    measure(argv + optind);
    return interrupted ? 130 : 0;
}
