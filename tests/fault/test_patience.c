/* When a worker says what it has finished, where nobody waits for that alone: in time to get more before it has nothing to run. */
#include "pool/system.h"
#include "tests/fault/process_rig.h"
#include "tests/lib/board.h"

TestSuite(patience, .timeout = 60);

/* One that begins with 'l' is long, one with 'g' waits at the gate. */
static mp_status take_time(const mp_str *in, int *out, mp_call *call)
{
    board_begin(call);
    if (in->data[0] == 'l')
        nap_us(10000); /* more than half a window, and less than such results may wait */
    while (in->data[0] == 'g' && !the_board()->gate)
        nap_us(200);
    *out = (int)in->size;
    return MP_OK;
}
MP_TASK(take_time, mp_str, int);

static void send_patiently(rig *r, size_t index, const mp_str *value)
{
    kind->send(r->workers, 0,
               &(mp__items){.count = 1,
                            .job = &mp__task_take_time,
                            .task = rig_task(r, &mp__task_take_time),
                            .index = index,
                            .attempt = 1,
                            .patient = true,
                            .value = value});
}

/* A parent that loses its CPU when the items are in the pipe and it has not said so yet. */
static pid_t parent;
static ssize_t write_and_stand_still(int fd, const struct iovec *pieces, int count)
{
    ssize_t written = writev(fd, pieces, count);
    if (getpid() == parent && board_here->word[0] && !SOON(board_here->begun >= board_here->word[0]))
        board_here->word[1]++;
    return written;
}

/* The second of two is held up, and the result of the first one is there. */
static void first_of_two_is_said(mp_str first, mp_str second)
{
    rig r;
    board_open();
    rig_open(&r, MP_FORK, (mp__backend_config){0});
    rig_start(&r);
    for (int round = 0; round < 2; round++) { /* the first that it says, and later */
        board_here->gate = 0;
        board_here->word[0] = 2 * round + 2;
        send_patiently(&r, 2 * (size_t)round, &first);
        send_patiently(&r, 2 * (size_t)round + 1, &second);
        kind->flush(r.workers, 0);
        rig_await_kind(&r, MP__EV_RESULT);
        board_here->gate = 1;
        rig_await_kind(&r, MP__EV_RESULT);
    }
    cr_assert_eq(board_here->word[1], 0, "the second item has not begun");
    board_here->word[0] = 0;
    rig_close(&r);
    board_close();
}

CHECK(patience, half_of_what_there_is__is_said_before_the_other_half_is_done)
{
    first_of_two_is_said((mp_str){"s", 1}, (mp_str){"g", 1});
}

CHECK(patience, long_one_before_one_of_many_bytes__is_said_at_once)
{
    static char bytes[1000];
    memset(bytes, 'g', sizeof bytes);
    first_of_two_is_said((mp_str){"l", 1}, (mp_str){bytes, sizeof bytes});
}

CHECK(patience, parent_has_not_said_what_it_sent__first_is_said_all_the_same)
{
    parent = getpid();
    mp__system.writev = write_and_stand_still;
    first_of_two_is_said((mp_str){"s", 1}, (mp_str){"g", 1});
}
