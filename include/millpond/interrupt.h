/* Ctrl-C, for pools that were opened with MP_INTERRUPT_STOP (pool.h). What it does by itself is said there; this is for programs
 * with a SIGINT handler of their own, and for those that go on afterwards. */
#ifndef MILLPOND_INTERRUPT_H
#define MILLPOND_INTERRUPT_H
#include <millpond/version.h>
#include <stdbool.h>

MP__BEGIN
/* Stops every such pool of this process, as the first Ctrl-C does: what has not started ends with MP_EINTERRUPTED, what runs is
 * told and waited for, and what is submitted from now on is refused with that status. May be called from a signal handler, and from
 * any thread. Does not wait. Again is fine. Python: what KeyboardInterrupt is for. */
MP__API void mp_interrupt(void);

/* True from then on: a loop that submits should end. */
MP__API bool mp_interrupted(void);

/* For a program that goes on: pools take work again. What they had before mp_interrupt ends all the same. Not from a signal
 * handler. */
MP__API void mp_interrupt_clear(void);
MP__END
#endif
