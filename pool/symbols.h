/* From raw addresses to functions and lines. */
#ifndef MP__POOL_SYMBOLS_H
#define MP__POOL_SYMBOLS_H
#include <stdbool.h>
#include <stddef.h>

/* The text of a backtrace: `frames` as in mp__evidence, "ADDRESS MODULE+OFFSET" on each line, where OFFSET is one in the file. Lines
 * that make no sense are left out. Owned by the caller: free(3); NULL: no memory. Any thread; not with a pool's lock held, for
 * files are read. */
char *mp__symbols_text(const char *frames, size_t size);

/* One function in a file, as far as that says. */
typedef struct mp__symbol {
    char function[256]; /* "": not known */
    size_t offset;      /* from its beginning, when the line is not known */
    char file[256];     /* "": not known */
    int line;
} mp__symbol;

/* The files of one backtrace, opened as they are needed. NULL: none can be (no memory, or built without libdw). One thread at a time
 * in the whole process: libdw's rule. */
typedef struct mp__debug_files mp__debug_files;
mp__debug_files *mp__debug_files_open(void);
void mp__debug_files_close(mp__debug_files *files); /* NULL is fine */

/* What is at this offset of this file: the function, first those that the compiler has put into it there, innermost first; `most` at
 * most. Returns how many; 0: nothing is known. `returns`: it is where a call returns to, one instruction behind the one that is
 * meant. */
size_t mp__debug_files_find(mp__debug_files *files, const char *path, size_t offset, bool returns, mp__symbol *symbols,
                            size_t most);

#endif
