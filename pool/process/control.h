/* Our end of the zygote's control socket, and the zygote as a process: commands go there, reports come from there. */
#ifndef MP__PROCESS_CONTROL_H
#define MP__PROCESS_CONTROL_H
#include "pool/process/protocol.h"
#include <millpond/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct mp__control_line {
    pid_t zygote; /* our child, until it has been waited for; -1: there is none */
    int fd;       /* -1: there is none */
    uint32_t slots;
    mp__control *inbox; /* reports that were read, and not taken; room for all that `slots` can have */
    size_t inbox_count;
    uint64_t tended_at;
} mp__control_line;

/* Makes room for the reports of so many slots. False: no memory, and nothing has changed. */
bool mp__control_grow(mp__control_line *line, uint32_t slots);

/* One report into the inbox. 0: none now; < 0: the zygote is gone, or speaks nonsense. */
int mp__control_receive(mp__control_line *line);

/* Takes the oldest of the inbox, which has one. */
mp__control mp__control_take(mp__control_line *line);

/* Sends a command, with descriptors (as mp__control_count has them) or NULL; 0 or errno. When the zygote is behind, its reports are
 * read into the inbox meanwhile: neither can wait for the other for ever. */
int mp__control_command(mp__control_line *line, const mp__control *message, const int *fds);

/* A task may have stopped the zygote (SIGSTOP cannot be blocked), and nothing would be forked, ended or reaped any more: it goes on. To one
 * that runs this does nothing. For when something is wanted of it; a command does so itself. */
void mp__control_rouse(const mp__control_line *line);

/* The same once in MP__ROUND_NS: one that was stopped before it had let go of a worker's pipe hides that worker's end, and nothing is wanted
 * of it. */
void mp__control_tend(mp__control_line *line);

/* The zygote has gone, and nobody asked it to, or has spoken nonsense: sees to it that it is dead, and says how in `error`. */
void mp__control_bury(mp__control_line *line, mp_error *error);

/* Lets the zygote go, with all that it still has, and waits for that; then frees everything. One that does not go in a second is
 * killed. */
void mp__control_close(mp__control_line *line);

#endif
