/* The files of a backtrace, where libdw is not there when the library is built: nothing is known of them. */
#include "pool/symbols.h"

mp__debug_files *mp__debug_files_open(void)
{
    return NULL;
}

void mp__debug_files_close(mp__debug_files *files)
{
    (void)files;
}

size_t mp__debug_files_find(mp__debug_files *files, const char *path, size_t offset, bool returns, mp__symbol *symbols,
                            size_t most)
{
    (void)files, (void)path, (void)offset, (void)returns, (void)symbols, (void)most;
    return 0;
}
