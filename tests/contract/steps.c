/* steps.c: carries out the scenarios of threshold.rows while strace looks on (threshold.py reads what it wrote).

     steps FILE                       each line of the file is a scenario: words NAME=value for its environment, then
                                      its steps; each runs in a process of its own, one after the other
     steps STEP...                    one scenario: a step is one argument, "malloc 131049"

   A step that is a row of the table is announced by a write to no file, which shows in the trace and nowhere else, and
   after it comes a note of where its block lies. Nothing but the steps allocates. */
#include <malloc.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support.h"

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    char text[64];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof text || write(-1, text, (size_t)length) != -1)
        abort();
}

static _Noreturn void refuse(const char *step)
{
    dprintf(STDERR_FILENO, "steps: cannot do '%s'\n", step);
    _exit(2);
}

/* The block that the next free or realloc is about, and the number of the row. */
static char *block;
static unsigned row;

static int on_break(void)
{
    extern char end;
    return block > &end && block < (char *)sbrk(0);
}

static void begin_row(void)
{
    note("phase %s/%u", getenv("SCENARIO"), row++);
}

/* The kind of place is told here, where the break is known. */
static void end_row(void)
{
    note("kind %s", !block ? "nothing" : on_break() ? "break" : "kept");
    note("block %#jx", (uintmax_t)(uintptr_t)block);
    note("phase between");
}

/* Small blocks until the break has moved, as many again until just before it moves the next time: what is free on the
   heap then is too little for the sizes that the rows ask for. */
static size_t small_blocks_until_growth(void)
{
    size_t count = 0;
    for (char *before = sbrk(0); sbrk(0) == before; count++)
        if (!opaque(malloc(1000)))
            abort();
    return count;
}

/* True while nothing has given the heap free memory, or taken of it, since it was drained. */
static int drained;

static void drain(void)
{
    if (drained)
        return;
    drained = 1;
    small_blocks_until_growth();
    for (size_t left = small_blocks_until_growth(); left > 2; left--)
        if (!opaque(malloc(1000)))
            abort();
}

/* Blocks that are held and freed together, from the last to the first. */
enum { FILL_MAX = 1000 };
static char *filling[FILL_MAX];
static size_t filled;

static void fill(size_t count, size_t size)
{
    while (count-- > 0 && filled < FILL_MAX)
        if (!(filling[filled++] = malloc(size)))
            abort();
}

static int parameter_named(const char *name)
{
    static const struct {
        const char *name;
        int parameter;
    } parameters[] = {
        {"M_MMAP_THRESHOLD", M_MMAP_THRESHOLD}, {"M_TRIM_THRESHOLD", M_TRIM_THRESHOLD}, {"M_TOP_PAD", M_TOP_PAD},
        {"M_MMAP_MAX", M_MMAP_MAX},             {"M_ARENA_MAX", M_ARENA_MAX},           {"M_PERTURB", M_PERTURB},
    };
    for (size_t i = 0; i < sizeof parameters / sizeof parameters[0]; i++)
        if (strcmp(parameters[i].name, name) == 0)
            return parameters[i].parameter;
    refuse(name);
}

static void take_step(const char *step)
{
    char verb[32], word[32];
    size_t size, other;
    long value;
    if (sscanf(step, "%31s", verb) != 1)
        refuse(step);
    if (strcmp(verb, "drain") == 0) {
        drain();
    } else if (sscanf(step, "mallopt %31s %ld", word, &value) == 2) {
        if (mallopt(parameter_named(word), (int)value) != 1)
            abort();
    } else if (sscanf(step, "fill %zu %zu", &other, &size) == 2) {
        drained = 0;
        fill(other, size);
    } else {
        int concerned_heap = on_break();
        begin_row();
        if (sscanf(step, "malloc %zu", &size) == 1) {
            block = malloc(size);
        } else if (sscanf(step, "calloc %zu", &size) == 1) {
            block = calloc(1, size);
        } else if (sscanf(step, "memalign %zu %zu", &other, &size) == 2) {
            block = memalign(other, size);
        } else if (sscanf(step, "realloc %zu", &size) == 1) {
            block = realloc(block, size);
        } else if (sscanf(step, "trim %zu", &size) == 1) {
            malloc_trim(size);
        } else if (strcmp(verb, "free") == 0) {
            free(block);
        } else if (strcmp(verb, "unfill") == 0) {
            while (filled > 0)
                free(filling[--filled]);
        } else {
            refuse(step);
        }
        end_row();
        drained = drained && block && !concerned_heap && !on_break();
    }
}

/* Runs one line of the file as a process of its own. */
static void run_scenario(char *line)
{
    extern char **environ;
    char *arguments[4096], *environment[256];
    size_t steps = 1, variables = 0;
    arguments[0] = line;
    for (char **variable = environ; *variable && variables < 200; variable++)
        environment[variables++] = *variable;
    for (char *word = strtok(line, ";\n"); word; word = strtok(NULL, ";\n")) {
        word += strspn(word, " ");
        if (steps == 1 && strchr(word, '='))
            environment[variables++] = word;
        else
            arguments[steps++] = word;
        if (variables == 255 || steps == 4095)
            refuse(word);
    }
    environment[variables] = arguments[steps] = NULL;
    pid_t process;
    int status;
    if (posix_spawn(&process, "/proc/self/exe", NULL, NULL, arguments, environment) != 0 ||
        waitpid(process, &status, 0) != process || status != 0) {
        dprintf(STDERR_FILENO, "steps: scenario failed: %s\n", arguments[1]);
        exit(1);
    }
}

int main(int count, char **arguments)
{
    require_expected_allocator_for(24);
    if (getenv("SCENARIO")) {
        for (int i = 1; i < count; i++)
            take_step(arguments[i]);
        return 0;
    }
    static char line[1 << 20];
    FILE *file = count == 2 ? fopen(arguments[1], "r") : NULL;
    if (!file) {
        dprintf(STDERR_FILENO, "usage: steps FILE\n");
        return 2;
    }
    while (fgets(line, sizeof line, file))
        run_scenario(line);
    fclose(file);
    return 0;
}
