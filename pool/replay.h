/* Running the item of a record again: because a program asks for it, or because its environment does. */
#ifndef MP__POOL_REPLAY_H
#define MP__POOL_REPLAY_H
#include <millpond/pool.h>

/* The environment variables: the record's file; and a pipe, in which the program says how far it has come, one byte each. */
#define MP__REPLAY_VARIABLE "MP_REPLAY"
#define MP__REPLAY_PIPE_VARIABLE "MP_REPLAY_PIPE"
enum { MP__REPLAY_BEGUN = 'b', MP__REPLAY_PASSED = 'p', MP__REPLAY_FAILED = 'f', MP__REPLAY_REFUSED = 'r' };

/* At the beginning of opening a pool, with its options (not looked at yet): notes what records have to know of it. If the environment
 * asks for a replay, does that, initializer first, and ends the process: 0, the item succeeded; 1, it did not. */
void mp__replay_at_open(const mp_pool_options *options);

/* In mp_main: the same for a record that needs no pool. One that does is left to the above. */
void mp__replay_in_main(void);

#endif
