/* What captured workers have written, on its way to the program's own standard output and error. */
#ifndef MP__POOL_OUTPUT_H
#define MP__POOL_OUTPUT_H
#include "pool/dispatch_state.h"

/* Prints what an item has written, later, on the callback thread: in order, each piece at once. With the lock. */
void mp__output_print(mp__dispatch *dispatch, const mp__evidence *evidence);
/* False: so much waits to be printed that workers had better not write more. With the lock. */
bool mp__output_has_room(const mp__dispatch *dispatch);

#endif
