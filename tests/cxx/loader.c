/* loader.c: a C program that loads a C++ plugin (the argument, a path), as Python, Perl and servers do. What
   brim needs of the C++ runtime was not there when its references were bound. The plugin is loaded, unloaded
   and loaded again, out of sight of the rest of the process (RTLD_LOCAL). */
#include "check.h"

#include <dlfcn.h>

static int runtime_is_loaded(void)
{
    return dlsym(RTLD_DEFAULT, "_ZSt17__throw_bad_allocv") ||
           dlopen("libstdc++.so.6", RTLD_NOLOAD | RTLD_LAZY);
}

static void *load(const char *path)
{
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!plugin)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(plugin);
    return plugin;
}

static int call(void *plugin, const char *name)
{
    int (*function)(void) = (int (*)(void))dlsym(plugin, name);
    CHECK(function);
    return function();
}

int main(int count, char **arguments)
{
    require_expected_allocator();
    CHECK(count == 2);
    CHECK(!runtime_is_loaded());
    for (int round = 0; round < 2; round++) {
        void *plugin = load(arguments[1]);
        CHECK(dlsym(RTLD_DEFAULT, "_ZSt17__throw_bad_allocv") == NULL); /* or the test proves nothing */
        CHECK(call(plugin, "plugin_blocks_are_owned"));
        CHECK(call(plugin, "plugin_bad_allocs") == 4);
        CHECK(call(plugin, "plugin_handler_throws"));
        CHECK(call(plugin, "plugin_library_throws"));
        CHECK(dlclose(plugin) == 0);
    }
    return 0;
}
