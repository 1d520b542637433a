/* strtol, with every way checked in which it says that something is no number. */
#include "examples/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

long option_number(const char *option, const char *text, long least, long most)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno || end == text || *end || number < least || number > most) {
        fprintf(stderr, "%s must be a number from %ld to %ld, got '%s'\n", option, least, most, text);
        exit(2);
    }
    return number;
}
