/* Command-line numbers, for the examples. */
#ifndef EXAMPLES_OPTIONS_H
#define EXAMPLES_OPTIONS_H

/* The number that `text` says. If it is none, or not in [least, most], says so and ends the program with exit code 2. */
long option_number(const char *option, const char *text, long least, long most);

#endif
