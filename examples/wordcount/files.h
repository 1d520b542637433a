/* Finding files and reading them. */
#ifndef WORDCOUNT_FILES_H
#define WORDCOUNT_FILES_H
#include <stdbool.h>
#include <stddef.h>

/* A list of paths, or of lines about them. All zero is an empty one. */
typedef struct paths {
    char **items; /* owned, and so is each */
    size_t count, capacity;
} paths;
void paths_fini(paths *list);

/* Adds one, put together as by printf(3). False: no memory. */
bool paths_add(paths *list, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds every regular file at or below `root` to `files`, by name, and "path: reason" to `unreadable` for every folder that
 * cannot be listed. Symbolic links below `root` are not followed. False: no memory. */
bool files_below(const char *root, paths *files, paths *unreadable);

/* A file's content. All zero is an empty one; good for any number of files, one after the other. */
typedef struct content {
    char *text; /* owned */
    size_t size, capacity;
    bool binary; /* a zero byte is among the first: not a text, and not read further. `size` is the file's all the same */
} content;
void content_fini(content *of);

/* Reads a file whole, so that an error half way leaves nothing half counted. 0, or errno's number for what went wrong. */
int content_read(content *into, const char *path);

#endif
