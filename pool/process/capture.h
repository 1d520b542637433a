/* What a worker's tasks print, where that is kept: a file in memory for standard output, another for standard error. */
#ifndef MP__PROCESS_CAPTURE_H
#define MP__PROCESS_CAPTURE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MP__CAPTURED = 2,           /* standard output, standard error */
    MP__CAPTURE_SIZE = 1 << 20, /* bytes that an item may print on each; what comes behind them is dropped */
    MP__CAPTURE_HEAD = 16 * 1024,
    MP__CAPTURE_TAIL =
        48 * 1024, /* if it has printed more than this and HEAD: what lies between is left out, and a note says so */
    MP__CAPTURE_NOTES = 128,
    MP__CAPTURE_TEXT = MP__CAPTURE_HEAD + MP__CAPTURE_TAIL + MP__CAPTURE_NOTES
};

/* What an OUTPUT frame holds: less of `text` if that is shorter. */
typedef struct mp__printed {
    uint32_t which; /* 0: standard output; 1: standard error */
    uint32_t cut;   /* 1: not all of it */
    char text[MP__CAPTURE_TEXT];
} mp__printed;
enum { MP__PRINTED_HEAD = 2 * sizeof(uint32_t) };
_Static_assert(offsetof(mp__printed, text) == MP__PRINTED_HEAD, "on the wire");

/* In the parent: makes a file, closed on exec. < 0: errno says why there is none. */
int mp__capture_make(void);

/* In either: what was printed since the last mp__capture_forget. How many bytes of `text` that is; 0: nothing. */
size_t mp__capture_read(int fd, mp__printed *printed);

/* In the worker: what tasks print goes into `given` from now on; copies in `fds` get the numbers from `first` on, for a task may close 1
 * and 2, or put others there. */
bool mp__capture_begin(const int given[MP__CAPTURED], int first, int fds[MP__CAPTURED]);
/* After an item: what it has left in stdio's buffer is printed. */
void mp__capture_flush(void);
void mp__capture_forget(const int fds[MP__CAPTURED]);

#endif
