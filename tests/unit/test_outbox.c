/* What an outbox writes comes out of its pipe as it was when it was written, whatever becomes of the memory afterwards: also where
 * the pipe gets the pages of a large blob, and not copies of them. A forked child reads, late, and says whether all is as it was. */
#include "pool/process/outbox.h"
#include "pool/system.h"
#include "tests/lib/check.h"
#include <errno.h>
#include <fcntl.h>
#include <millpond.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

TestSuite(outbox, .timeout = 60);

enum { MIB = 1 << 20, OLD = 7, NEW = 9 };

static mp_status echo(const mp_bytes *in, mp_bytes *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(echo, mp_bytes, mp_bytes);

static int ends[2];
static pid_t reader;

/* Reads `size` bytes when told to, by SIGCONT; its exit code says whether the last `blob` of them were all OLD. */
static void begin_reader(size_t size, size_t blob)
{
    reader = fork();
    if (reader)
        return;
    static unsigned char piece[70001];
    size_t at = 0;
    raise(SIGSTOP);
    while (at < size) {
        ssize_t got = read(ends[0], piece, size - at < sizeof piece ? size - at : sizeof piece);
        if (got <= 0)
            _exit(2);
        for (ssize_t i = 0; i < got; i++)
            if (at + (size_t)i >= size - blob && piece[i] != OLD)
                _exit(1);
        at += (size_t)got;
    }
    _exit(0);
}

static int end_reader(void)
{
    int status;
    cr_assert(eq(int, waitpid(reader, &status, 0), reader));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static unsigned spliced;
static int refusal;

static ssize_t count_vmsplice(int fd, const struct iovec *pieces, size_t count, unsigned flags)
{
    spliced++;
    if (refusal) {
        errno = refusal;
        return -1;
    }
    return vmsplice(fd, pieces, count, flags);
}

/* Writes all of it, to a reader that begins when the pipe is full; then the blob's memory is written over. */
static int write_and_overwrite(size_t size, size_t offset, int flags)
{
    unsigned char *bytes = malloc(size + offset);
    mp__outbox outbox = {.blob_sent = 0};
    mp__fault fault = {0};
    mp_bytes value = {bytes + offset, size};
    cr_assert(eq(int, pipe2(ends, O_CLOEXEC), 0));
    fcntl(ends[1], F_SETFL, flags);
    fcntl(ends[1], F_SETPIPE_SZ, MIB);
    cr_assert(eq(int, mp__outbox_value(&outbox, 1, mp__task_echo.input, &value, &fault), MP_OK));
    begin_reader(mp__outbox_size(&outbox), size);
    memset(bytes, OLD, size + offset); /* behind the fork: else what is written over would be a copy */
    waitpid(reader, NULL, WUNTRACED);
    int failed = flags ? mp__outbox_write(&outbox, ends[1]) : EAGAIN;
    kill(reader, SIGCONT);
    while (failed == EAGAIN) {
        struct pollfd fd = {.fd = ends[1], .events = POLLOUT};
        poll(&fd, 1, -1);
        failed = mp__outbox_write(&outbox, ends[1]);
    }
    kill(reader, SIGSTOP); /* in the middle of what the pipe still has, but for the smallest */
    siginfo_t stopped;
    waitid(P_PID, (id_t)reader, &stopped, WSTOPPED | WEXITED | WNOWAIT);
    memset(bytes, NEW, size + offset);
    kill(reader, SIGCONT);
    cr_assert(eq(int, failed, 0));
    close(ends[1]);
    int said = end_reader();
    close(ends[0]);
    mp__outbox_fini(&outbox);
    free(bytes);
    return said;
}

CHECK(outbox, a_blob_of_any_size__may_be_written_over_when_it_is_written)
{
    static const size_t sizes[] = {16 * 1024, MIB - 5, MIB, MIB + 300000, 5 * MIB + 12345, 20 * MIB};
    mp__system.vmsplice = count_vmsplice;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t offset = 0; offset < 3; offset++) {
            spliced = 0;
            cr_assert(zero(int, write_and_overwrite(sizes[i], offset * 1001, O_NONBLOCK)), "%zu bytes", sizes[i]);
            cr_assert(zero(int, write_and_overwrite(sizes[i], offset * 1001, 0)), "%zu bytes, waiting", sizes[i]);
            cr_assert(eq(int, spliced > 0, sizes[i] > MIB + 256 * 1024), "%zu bytes: %u times", sizes[i], spliced);
        }
    mp__system.vmsplice = vmsplice;
}

CHECK(outbox, pages_that_the_system_does_not_take__are_copied)
{
    mp__system.vmsplice = count_vmsplice;
    refusal = ENOSYS;
    spliced = 0;
    cr_assert(zero(int, write_and_overwrite(5 * MIB, 3, O_NONBLOCK)));
    cr_assert(zero(int, write_and_overwrite(5 * MIB, 3, 0)));
    cr_assert(eq(int, (int)spliced, 2)); /* asked once each, and never again */
    mp__system.vmsplice = vmsplice;
}
