/* Files in memory that stand in for standard output and error of a worker.
 *
 * Parent and worker hold the same open file, so they share its position, and so do children of a task, which write there too: the
 * position says how much was printed since the worker set it back. The worker does that after each item, when it has sent the text; if
 * it dies before, the parent finds the text itself. The file cannot grow, which the kernel sees to: a write behind its end fails with
 * EPERM, and the worker lives. A position that a wild task has moved is held against the file's size.
 *
 * A task that opens /dev/stdout has a position of its own: what it prints there is seen only as far as others have printed. */
#include "pool/process/capture.h"
#include "pool/system.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdio_ext.h>

int mp__capture_make(void)
{
    int fd = mp__above_standard(mp__system.memfd_create("millpond-output", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (fd < 0)
        return fd;
    if (mp__system.ftruncate(fd, MP__CAPTURE_SIZE) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0)
        return fd;
    int failed = errno;
    close(fd);
    errno = failed;
    return -1;
}

bool mp__capture_begin(const int given[MP__CAPTURED], int first, int fds[MP__CAPTURED])
{
    for (int i = 0; i < MP__CAPTURED; i++) {
        fds[i] = first + i;
        if (dup3(given[i], fds[i], O_CLOEXEC) < 0 || dup2(given[i], STDOUT_FILENO + i) < 0)
            return false;
    }
    return true;
}

/* What the file has no room for would stand before what the next item prints. */
void mp__capture_flush(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return;
    __fpurge(stdout);
    clearerr(stdout);
}

static bool any(int fd)
{
    return lseek(fd, 0, SEEK_CUR) > 0;
}

void mp__capture_forget(const int fds[MP__CAPTURED])
{
    for (int i = 0; i < MP__CAPTURED; i++)
        if (any(fds[i]))
            lseek(fds[i], 0, SEEK_SET);
}

/* Behind `used` bytes of the text. */
static size_t add_piece(int fd, size_t from, size_t size, char *text, size_t used)
{
    ssize_t got = pread(fd, text + used, size, (off_t)from); /* all of it: the file is there, in memory */
    return used + (got > 0 ? (size_t)got : 0);
}

static size_t add_note(mp__printed *printed, size_t used, const char *format, size_t bytes)
{
    printed->cut = 1;
    int length = snprintf(printed->text + used, sizeof printed->text - used, format, bytes);
    return used + (size_t)length;
}

size_t mp__capture_read(int fd, mp__printed *printed)
{
    off_t position = lseek(fd, 0, SEEK_CUR);
    size_t size = position < 0 ? 0 : position > MP__CAPTURE_SIZE ? MP__CAPTURE_SIZE : (size_t)position, used = 0;
    const size_t most = MP__CAPTURE_HEAD + MP__CAPTURE_TAIL;
    printed->cut = 0;
    if (size <= most) {
        used = add_piece(fd, 0, size, printed->text, 0);
    } else {
        used = add_piece(fd, 0, MP__CAPTURE_HEAD, printed->text, 0);
        used = add_note(printed, used, "\n... %zu bytes cut ...\n", size - most);
        used = add_piece(fd, size - MP__CAPTURE_TAIL, MP__CAPTURE_TAIL, printed->text, used);
    }
    if (size == MP__CAPTURE_SIZE)
        used = add_note(printed, used, "\n... what was printed behind %zu bytes is dropped ...\n", size);
    return used;
}
