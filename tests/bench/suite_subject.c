/* suite_subject: stands for two programs of mimalloc-bench, by the name that it is called by: for one that prints its
   figure and runs where it may leave a file, and for one whose output is its answer. */
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    void *volatile block = malloc(100);
    free(block);
    if (!strcmp(basename(argv[0]), "cfrac")) {
        printf("%s\n", argc > 1 ? argv[1] : "");
        return 0;
    }
    FILE *left = fopen("left-behind", "w");
    if (!left || fclose(left) != 0)
        return 1;
    printf("Throughput = 1 operations per second, relative time: 2.5s.\n");
    return 0;
}
