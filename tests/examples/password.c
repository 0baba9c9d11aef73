/* password: asks for a password twice and says whether they are the same.

     password

   What it reads lies in a locked heap: never on a swap disk, not in a core dump, not in a forked child, and zeroed when
   it is freed. stdio would keep a copy in a buffer of its own, so it reads by read(2). */
#include <brim.h>
#include <stdbool.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "say.h"

/* One line from the terminal, without echo, in a block of the heap. */
static char *read_password(struct brim_heap *heap, const char *prompt)
{
    enum { MOST = 128 };
    char *password = brim_heap_calloc(heap, 1, MOST);
    if (!password)
        fail_heap("the password");
    struct termios before, silent;
    bool terminal = tcgetattr(STDIN_FILENO, &before) == 0;
    if (terminal) {
        silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
        fputs(prompt, stderr);
    }
    size_t length = 0;
    char c;
    while (length < MOST - 1 && read(STDIN_FILENO, &c, 1) == 1 && c != '\n')
        password[length++] = c;
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    return password;
}

int main(void)
{
    struct brim_heap *heap = brim_heap_create(&(struct brim_heap_options){
        .size = sizeof(struct brim_heap_options),
        .kind = BRIM_HEAP_LOCKED,
        .limit = (size_t)1 << 20,
    });
    if (!heap && brim_heap_error() == BRIM_HEAP_LOCK_LIMIT)
        fail("not enough memory may be locked: raise the limit (ulimit -l)");
    if (!heap)
        fail_heap("a locked heap");
    char *first = read_password(heap, "password: ");
    char *second = read_password(heap, "again: ");
    bool same = strcmp(first, second) == 0;
    brim_heap_free(heap, first);
    brim_heap_free(heap, second);
    puts(same ? "the same" : "not the same");
    brim_heap_destroy(heap);
    return same ? 0 : 1;
}
