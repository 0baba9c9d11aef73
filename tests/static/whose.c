/* whose.c: asks every entry point whose it is, by name and by what the calls of a library (the argument, a
   path) are bound to. The two can differ: libc's names carry versions, and a definition in another version
   does not take the call. */
#include "../cxx/check.h"
#include "bound.h"

#include <dlfcn.h>

static int wrong;

static void ask(const char *name, const char *how, const void *address, const Dl_info *brim)
{
    Dl_info module;
    if (!address || dladdr(address, &module) == 0) {
        printf("%s, %s: nobody's\n", name, how);
        wrong++;
    } else if (module.dli_fbase != brim->dli_fbase) {
        printf("%s, %s: %s's\n", name, how, module.dli_fname);
        wrong++;
    }
}

int main(int argument_count, char **arguments)
{
    require_expected_allocator();
    CHECK(argument_count == 2);
    void *library = dlopen(arguments[1], RTLD_NOW);
    const struct bound_entry *entry = library ? dlsym(library, "bound_entries") : NULL;
    if (!entry) {
        printf("%s\n", dlerror()); /* names an entry point that nobody has */
        return 1;
    }
    Dl_info brim;
    CHECK(dladdr((const void *)brim_owns, &brim) != 0 && strstr(brim.dli_fname, "libbrim.so"));
    int count = 0;
    for (; entry->name; entry++, count++) {
        ask(entry->name, "by name", dlsym(RTLD_DEFAULT, entry->name), &brim);
        ask(entry->name, "as bound", (const void *)entry->address, &brim);
    }
    printf("%d entry points, %d answers other than brim\n", count, wrong);
    return wrong != 0;
}
