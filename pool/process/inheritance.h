/* What a process that was forked from the program keeps of it. For use between fork and exec too: only system calls. */
#ifndef MP__PROCESS_INHERITANCE_H
#define MP__PROCESS_INHERITANCE_H

/* Standard input is empty; 1 and 2 exist, so that no descriptor of ours gets their number; the `count` in `fds` are
 * moved to 3, 4, ..., which is written there, and closed on exec; all others are closed. */
void mp__inherit_descriptors(int *fds, int count);

/* The program's handlers are gone; what it ignores stays ignored. SIGINT is ignored, SIGTERM and SIGCHLD are not.
 * The mask stays as it is. */
void mp__inherit_signals(void);

#endif
