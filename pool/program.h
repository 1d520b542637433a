/* What this program is, for those who want to run it again: its file, and how to tell whether that is still the same. */
#ifndef MP__POOL_PROGRAM_H
#define MP__POOL_PROGRAM_H
#include <stdbool.h>
#include <stddef.h>

enum { MP__BUILD_ID_MAX = 2 * 64 + 1 };

typedef struct mp__program {
    char path[4096]; /* of the file that was executed; "" when not known */
    char host[256];
    char build_id[MP__BUILD_ID_MAX]; /* hexadecimal digits; "": it has none */
} mp__program;

/* As it was when the library was loaded. Borrowed for ever. */
const mp__program *mp__program_this(void);

/* The build id of a program's file. False: there is no such file, or it is no program; one without has "". */
bool mp__program_build_id(const char *path, char build_id[MP__BUILD_ID_MAX]);

/* A pool is opened here whose tasks may need what the program has at this moment: it forks its workers, runs threads, or has an
 * initializer. Records that are made from now on say so. */
void mp__program_opens(void);
bool mp__program_at_open(void);

#endif
