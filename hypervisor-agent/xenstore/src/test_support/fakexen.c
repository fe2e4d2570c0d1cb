/* A preloaded shim that lets Xen's own xenstored and oxenstored (seen with 4.17) run on a machine without a
 * hypervisor.
 *
 * It answers the few calls into libxenctrl, libxenevtchn and libxengnttab that they make, and the files
 * xsd_port and xsd_kva. Clients use the unix socket as usual; all of them count as the control domain.
 * The path of its socket is built into oxenstored: it is moved to $FAKEXEN_SOCKET.
 * For tests only.
 *
 * The daemon ends when its standard input does, so that none outlives the test that started it, even when
 * that test is killed. (PR_SET_PDEATHSIG would follow the thread that started it, not the process.)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int handle, event_fd = -1, next_port = 10;

static void *end_with_stdin(void *fd_pointer)
{
    char byte;
    int fd = (int)(intptr_t)fd_pointer;
    ssize_t got;
    do {
        got = read(fd, &byte, 1);
    } while (got > 0 || (got < 0 && errno == EINTR));
    _exit(0);
}

__attribute__((constructor)) static void start(void)
{
    pthread_t thread;
    /* xenstored may put /dev/null in the place of its standard input. */
    int fd = fcntl(0, F_DUPFD_CLOEXEC, 100);
    if (getenv("FAKEXEN_END_WITH_STDIN") && fd >= 0)
        pthread_create(&thread, NULL, end_with_stdin, (void *)(intptr_t)fd);
}

/* libxenctrl: every domain that is asked for exists. */
void *xc_interface_open(void *logger, void *dombuild_logger, unsigned flags) { return &handle; }
int xc_interface_close(void *xch) { return 0; }
int xc_domain_getinfo(void *xch, uint32_t first, unsigned count, void *info)
{
    if (!count || !info)
        return 0;
    /* xc_dominfo_t: the domain id comes first; no flag set means alive. */
    memset(info, 0, 64);
    *(uint32_t *)info = first;
    return 1;
}
int xc_domain_getinfolist(void *xch, uint32_t first, unsigned count, void *info) { return 0; }

/* oxenstored maps a guest's ring this way: a page of our own, too. */
void *xc_map_foreign_range(void *xch, uint32_t domid, int size, int prot, unsigned long mfn)
{
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* libxengnttab: a guest's ring is a page of our own. */
void *xengnttab_open(void *logger, unsigned flags) { return &handle; }
int xengnttab_close(void *xgt) { return 0; }
int xengnttab_set_max_grants(void *xgt, uint32_t count) { return 0; }
void *xengnttab_map_grant_ref(void *xgt, uint32_t domid, uint32_t ref, int prot)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
int xengnttab_unmap(void *xgt, void *start_address, uint32_t count)
{
    return munmap(start_address, 4096 * (size_t)count);
}

/* libxenevtchn: a channel on which nothing ever happens. */
static void *open_channel(void)
{
    if (event_fd < 0)
        event_fd = eventfd(0, EFD_NONBLOCK);
    return &handle;
}
void *xenevtchn_open(void *logger, unsigned flags) { return open_channel(); }
void *xenevtchn_fdopen(void *logger, int fd, unsigned flags) { return open_channel(); }
int xenevtchn_close(void *xce) { return 0; }
int xenevtchn_fd(void *xce) { return event_fd; }
int xenevtchn_notify(void *xce, uint32_t port) { return 0; }
int xenevtchn_bind_interdomain(void *xce, uint32_t domid, uint32_t port) { return next_port++; }
int xenevtchn_bind_virq(void *xce, unsigned virq) { return next_port++; }
int xenevtchn_unbind(void *xce, uint32_t port) { return 0; }
int xenevtchn_pending(void *xce)
{
    errno = EAGAIN;
    return -1;
}
int xenevtchn_unmask(void *xce, uint32_t port) { return 0; }

/* The socket of oxenstored, and its folder. */
static const char *moved(const char *path)
{
    const char *socket = getenv("FAKEXEN_SOCKET");
    return socket && !strcmp(path, "/var/run/xenstored/socket") ? socket : path;
}
int bind(int fd, const struct sockaddr *address, socklen_t len)
{
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
    const char *wanted = ((const struct sockaddr_un *)address)->sun_path;
    struct sockaddr_un own = {.sun_family = AF_UNIX};
    if (address->sa_family != AF_UNIX || moved(wanted) == wanted)
        return real(fd, address, len);
    strncpy(own.sun_path, moved(wanted), sizeof own.sun_path - 1);
    return real(fd, (struct sockaddr *)&own, sizeof own);
}
int unlink(const char *path)
{
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    return real(moved(path));
}
int mkdir(const char *path, mode_t mode)
{
    int (*real)(const char *, mode_t) = dlsym(RTLD_NEXT, "mkdir");
    if (getenv("FAKEXEN_SOCKET") && !strncmp(path, "/var/run", 8)) {
        errno = EEXIST;
        return -1;
    }
    return real(path, mode);
}

/* Both ask for more files than an ordinary user may have. */
int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit) { return 0; }
int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit) { return 0; }

/* The kernel's files about its own ring: -2 when `path` is none of them. */
static int open_fake(const char *path)
{
    int is_ring = strstr(path, "xsd_kva") || strstr(path, "xenbus");
    int fd;
    if (!is_ring && !strstr(path, "xsd_port"))
        return -2;
    fd = memfd_create("fakexen", MFD_CLOEXEC);
    if (fd < 0)
        return -1;
    if (is_ring)
        return ftruncate(fd, 4096) ? -1 : fd;
    return write(fd, "1", 1) == 1 && lseek(fd, 0, SEEK_SET) == 0 ? fd : -1;
}

typedef int (*open_function)(const char *, int, ...);

#define OPEN_UNLESS_FAKE(name)                                        \
    int name(const char *path, int flags, ...)                        \
    {                                                                 \
        va_list arguments;                                            \
        int mode, fd = open_fake(path);                               \
        if (fd != -2)                                                 \
            return fd;                                                \
        va_start(arguments, flags);                                   \
        mode = va_arg(arguments, int);                                \
        va_end(arguments);                                            \
        return ((open_function)dlsym(RTLD_NEXT, #name))(path, flags, mode); \
    }
OPEN_UNLESS_FAKE(open)
OPEN_UNLESS_FAKE(open64)
