/* This program, as it must be known to be executed again for MP_SPAWN and MP_FORKSERVER. */
#ifndef MP__POOL_MAIN_H
#define MP__POOL_MAIN_H
#include <millpond/error.h>
#include <millpond/pool.h>

/* May a pool be opened by this method, here? MP_EINVAL: it executes the program, and mp_main has not been called; or this is a
 * process that was executed for a pool and has not become what it is for: whatever the method, it would do all that its parent
 * did, and so would what it executes. The error says what to do. */
mp_status mp__main_check(mp_start_method method, mp_error *error);

/* A descriptor of the program's file, close-on-exec, borrowed; < 0: errno says why there is none. After mp_main. */
int mp__main_descriptor(void);
/* The program's arguments, as mp_main got them. Borrowed for ever. */
char *const *mp__main_arguments(void);

#endif
