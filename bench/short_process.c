/* short_process: the program that the workload "startup" starts: nothing at all, or as much as a small tool
   does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "short") != 0)
        return 0;
    enum { BLOCKS = 200 };
    char *blocks[BLOCKS];
    size_t sum = 0;
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(16 + (size_t)(i * 37 % 500));
        if (!blocks[i])
            return 1;
        strcpy(blocks[i], "short");
    }
    for (int i = 0; i < BLOCKS; i++) {
        sum += strlen(blocks[i]);
        free(blocks[i]);
    }
    FILE *sink = fopen("/dev/null", "w");
    if (!sink || fprintf(sink, "%zu\n", sum) < 0 || fclose(sink) != 0)
        return 1;
    return 0;
}
