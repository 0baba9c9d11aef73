/* loader.c: the reference of environment.c, asked about each file of a corpus, against the loader itself: what
   `ld.so --list-tunables` shows in that environment is what the reference says. So the fuzzing of options compares brim
   with glibc, not with an opinion about it.

   loader LOADER FILE... */
#include "environment.c"

#include <gnu/libc-version.h>
#include <sys/wait.h>

/* The strings of the file that are glibc's to read; those for the loader as a loader are left out. */
static size_t strings_of(const char *path, char *strings[], size_t most)
{
    static char content[1 << 16];
    FILE *file = fopen(path, "rb");
    expect(file);
    size_t size = fread(content, 1, sizeof content - 1, file), count = 0;
    fclose(file);
    content[size] = '\0';
    for (char *at = content; at < content + size && count < most; at += strlen(at) + 1)
        if (strncmp(at, "LD_", 3) != 0 && strncmp(at, "BRIM_", 5) != 0)
            strings[count++] = at;
    strings[count] = NULL;
    return count;
}

static FILE *ask(const char *loader, char *const strings[])
{
    int ends[2];
    expect(pipe(ends) == 0);
    pid_t child = fork();
    expect(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        execve(loader, (char *[]){(char *)(uintptr_t)loader, "--list-tunables", NULL}, strings);
        _exit(127);
    }
    close(ends[1]);
    return fdopen(ends[0], "r");
}

int main(int count, char **arguments)
{
    enum { STRINGS = 32 };
    size_t compared = 0;
    if (strcmp(gnu_get_libc_version(), "2.36") != 0) {
        printf("the rules are those of glibc 2.36, this is %s\n", gnu_get_libc_version());
        return 77;
    }
    for (int i = 2; i < count; i++) {
        char *strings[STRINGS + 1], line[300], name[100], value[60];
        size_t length = strings_of(arguments[i], strings, STRINGS);
        memset(expected, 0, sizeof expected);
        for (size_t at = 0; at < length; at++)
            reference_variable(strings[at]);
        FILE *answer = ask(arguments[1], strings);
        while (fgets(line, sizeof line, answer)) {
            if (sscanf(line, "glibc.malloc.%99[^:]: %59s", name, value) != 2)
                continue;
            for (enum option option = 0; option < OPTION_COUNT; option ++) {
                if (strcmp(option_rows[option].tunable, name) != 0)
                    continue;
                compared++;
                if (strtoull(value, NULL, 0) == expected[option].value)
                    continue;
                printf("%s: %s is %s, not %#zx\n", arguments[i], name, value, (size_t)expected[option].value);
                return 1;
            }
        }
        fclose(answer);
        while (wait(NULL) > 0)
            ;
    }
    printf("%zu values compared\n", compared);
    return compared == 0;
}
