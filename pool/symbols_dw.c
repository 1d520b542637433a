/* The files of a backtrace, as elfutils' libdw reads them: names from symbol tables, those of static functions too, and lines from
 * debugging information, in the file itself or in one of its own below /usr/lib/debug. Where the environment says where to ask for
 * it (DEBUGINFOD_URLS), elfutils does, as gdb would.
 *
 * Each file is reported to libdw as if it were loaded at the addresses that stand in it: an offset in the file becomes such an
 * address by its program headers. So it does not matter which process had it where, nor whether that still lives. symbols.c sees to
 * it that one thread at a time is here. A file that is gone, or is not ELF, has no symbols: nothing fails. */
#include "pool/forks.h"
#include "pool/symbols.h"
#include "serial/memory.h"
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <elfutils/version.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 64 };

struct mp__debug_files {
    Dwfl *dwfl;
    size_t count;
    GElf_Addr next; /* where the next file is put, so that no two lie over each other */
    struct {
        char *path;          /* owned */
        Dwfl_Module *module; /* NULL: it cannot be read */
    } files[FILES_MAX];
};

static char *no_path;
static const Dwfl_Callbacks callbacks = {.find_elf = dwfl_build_id_find_elf,
                                         .find_debuginfo = dwfl_standard_find_debuginfo,
                                         .section_address = dwfl_offline_section_address,
                                         .debuginfo_path = &no_path};

/* libdw loads the library by which it asks servers when it looks for a file's debugging information first. A child that is forked
 * meanwhile finds that half loaded: it crashes there, or ends for a symbol that is not to be found. So who forks waits for that (forks.h). */
static void load_client(Dwfl *dwfl)
{
    static bool loaded;
    if (loaded)
        return;
    pthread_mutex_lock(&mp__forks.loader);
#if _ELFUTILS_PREREQ(0, 179) /* older ones ask nobody */
    (void)dwfl_get_debuginfod_client(dwfl);
#endif
    pthread_mutex_unlock(&mp__forks.loader);
    loaded = true;
}

mp__debug_files *mp__debug_files_open(void)
{
    mp__debug_files *made = mp__memory.calloc(1, sizeof *made);
    if (!made)
        return NULL;
    made->dwfl = dwfl_begin(&callbacks);
    if (!made->dwfl) {
        free(made);
        return NULL;
    }
    load_client(made->dwfl);
    dwfl_report_begin(made->dwfl);
    return made;
}

void mp__debug_files_close(mp__debug_files *files)
{
    if (!files)
        return;
    dwfl_end(files->dwfl);
    for (size_t i = 0; i < files->count; i++)
        free(files->files[i].path);
    free(files);
}

/* What a dead worker, or a record of somebody else's, calls a module may be anything: a pipe, say, that would have us wait. */
static int open_file(const char *path)
{
    struct stat found;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || (fstat(fd, &found) == 0 && S_ISREG(found.st_mode)))
        return fd;
    close(fd);
    return -1;
}

static Dwfl_Module *report(mp__debug_files *files, const char *path)
{
    GElf_Addr low, high;
    int fd = open_file(path);
    Dwfl_Module *module = fd < 0 ? NULL : dwfl_report_elf(files->dwfl, path, path, fd, files->next, false);
    if (!module && fd >= 0)
        close(fd);
    if (module && dwfl_module_info(module, NULL, &low, &high, NULL, NULL, NULL, NULL) && high > files->next)
        files->next = (high + 0x1fffff) & ~(GElf_Addr)0xfffff;
    return module;
}

static Dwfl_Module *find_module(mp__debug_files *files, const char *path)
{
    for (size_t i = 0; i < files->count; i++)
        if (!strcmp(files->files[i].path, path))
            return files->files[i].module;
    char *copy = files->count < FILES_MAX ? mp__memory.malloc(strlen(path) + 1) : NULL;
    if (!copy)
        return NULL;
    Dwfl_Module *module = report(files, path);
    files->files[files->count].path = strcpy(copy, path);
    files->files[files->count++].module = module;
    return module;
}

/* An offset in the file as an address of the module. False: nothing is loaded from there. */
static bool address_of(Dwfl_Module *module, size_t offset, GElf_Addr *address)
{
    GElf_Addr bias;
    GElf_Phdr header;
    size_t count;
    Elf *elf = dwfl_module_getelf(module, &bias);
    if (!elf || elf_getphdrnum(elf, &count) != 0)
        return false;
    for (size_t i = 0; i < count; i++)
        if (gelf_getphdr(elf, (int)i, &header) && header.p_type == PT_LOAD && offset >= header.p_offset &&
            offset - header.p_offset < header.p_filesz) {
            *address = offset - header.p_offset + header.p_vaddr + bias;
            return true;
        }
    return false;
}

static void copy_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

static void find_function(Dwfl_Module *module, GElf_Addr address, mp__symbol *symbol)
{
    GElf_Sym found;
    GElf_Off offset = 0;
    const char *name = dwfl_module_addrinfo(module, address, &offset, &found, NULL, NULL, NULL);
    if (!name)
        return;
    copy_text(symbol->function, sizeof symbol->function, name);
    symbol->offset = offset;
}

static void put_line(mp__symbol *symbol, const char *file, int line)
{
    if (!file || line <= 0)
        return;
    const char *slash = strrchr(file, '/');
    copy_text(symbol->file, sizeof symbol->file, slash ? slash + 1 : file);
    symbol->line = line;
}

/* The compilation unit of an address. gcc writes a table for that; clang does not, then each unit is asked. */
static Dwarf_Die *find_unit(Dwfl_Module *module, GElf_Addr address, Dwarf_Addr *bias)
{
    Dwarf_Die *unit = dwfl_module_addrdie(module, address, bias);
    if (unit)
        return unit;
    while ((unit = dwfl_module_nextcu(module, unit, bias)) && dwarf_haspc(unit, address - *bias) != 1)
        continue;
    return unit;
}

static void find_line(Dwarf_Die *unit, GElf_Addr address, mp__symbol *symbol)
{
    int line = 0;
    Dwarf_Line *at = dwarf_getsrc_die(unit, address);
    if (at && dwarf_lineno(at, &line) == 0)
        put_line(symbol, dwarf_linesrc(at, NULL, NULL), line);
}

/* The scopes around an address, innermost first, each within the next as the code lies in the file; given. */
static int find_scopes(Dwfl_Module *module, Dwarf_Die *unit, GElf_Addr address, Dwarf_Die **scopes)
{
    Dwarf_Die innermost, *found = NULL;
    Dwarf_Addr bias;
    int count = dwarf_getscopes(unit, address, &found);
    bool there = count > 0 && dwarf_offdie(dwfl_module_getdwarf(module, &bias), dwarf_dieoffset(&found[0]), &innermost);
    free(found);
    return there ? dwarf_getscopes_die(&innermost, scopes) : 0;
}

/* Where a function that was put into another one was called. */
static void put_call(Dwarf_Die *unit, Dwarf_Die *inlined, mp__symbol *symbol)
{
    Dwarf_Attribute attribute;
    Dwarf_Word file = 0, line = 0;
    Dwarf_Files *files;
    if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_file, &attribute), &file) == 0 &&
        dwarf_formudata(dwarf_attr(inlined, DW_AT_call_line, &attribute), &line) == 0 &&
        dwarf_getsrcfiles(unit, &files, NULL) == 0)
        put_line(symbol, dwarf_filesrc(files, file, NULL, NULL), (int)line);
}

/* symbols[0] has the address's own line and the name of the function as the file's symbols have it: splits it up into what the
 * compiler has put together. Returns how many there are. */
static size_t split(Dwfl_Module *module, Dwarf_Die *unit, GElf_Addr address, mp__symbol *symbols, size_t most)
{
    Dwarf_Die *scopes = NULL;
    int scope_count = find_scopes(module, unit, address, &scopes);
    mp__symbol whole = symbols[0];
    size_t count = 0;
    for (int i = 0; i < scope_count && count + 1 < most; i++) {
        const char *name = dwarf_diename(&scopes[i]);
        if (dwarf_tag(&scopes[i]) != DW_TAG_inlined_subroutine || !name)
            continue;
        copy_text(symbols[count].function, sizeof symbols->function, name);
        symbols[++count] = (mp__symbol){0};
        put_call(unit, &scopes[i], &symbols[count]);
    }
    free(scopes);
    copy_text(symbols[count].function, sizeof symbols->function, whole.function);
    symbols[count].offset = whole.offset;
    return count + 1;
}

size_t mp__debug_files_find(mp__debug_files *files, const char *path, size_t offset, bool returns, mp__symbol *symbols,
                            size_t most)
{
    GElf_Addr address;
    Dwarf_Addr bias;
    Dwfl_Module *module = path[0] == '/' ? find_module(files, path) : NULL;
    if (!module || !address_of(module, offset - returns, &address))
        return 0;
    memset(symbols, 0, sizeof *symbols);
    find_function(module, address, symbols);
    if (symbols->function[0])
        symbols->offset += returns;
    Dwarf_Die *unit = find_unit(module, address, &bias);
    if (!unit)
        return 1;
    find_line(unit, address - bias, symbols);
    return split(module, unit, address - bias, symbols, most);
}
