/* The floor of a drain: the system calls that queuectl makes for a job, made by two threads of a C program.
 *
 *     cc -O2 -pthread floor.c -o floor && ./floor SPOOL
 *
 * Each job of SPOOL/pending is read, renamed into running/, run by a shell that writes the start and end lines of the
 * log, waited for, and renamed into done/. The log is opened and the attempt's byte of it locked; the log's end is read
 * afterwards, and what the attempt used is written to it. Nothing is checked that may go wrong but what would make the
 * figure untrue.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static int pending, running, done, logs, null;
static char **names;
static atomic_int next;
static int count;

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int directory(const char *spool, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", spool, name);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        err(1, "%s", path);
    return fd;
}

/* Names in pending/ are PRIORITY-RUN_AT-ATTEMPTS-ID.json. */
static void run(const char *name)
{
    char body[4096], claimed[512], finished[512], log_name[512], script[1024], used[256], end[256];
    const char *id = strrchr(name, '-') + 1, *run_at = name + 4;
    int length = (int)(strlen(id) - strlen(".json"));
    struct stat status;
    struct rusage usage;

    int fd = openat(pending, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) || pread(fd, body, sizeof body, 0) <= 0)
        err(1, "%s", name);
    close(fd);
    snprintf(claimed, sizeof claimed, "%.20s-%.3s-1-host.%d.aaaa-%s", run_at, name, getpid(), id);
    if (renameat(pending, name, running, claimed))
        err(1, "claim %s", name);

    snprintf(log_name, sizeof log_name, "%.*s.log", length, id);
    int log = openat(logs, log_name, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1 + atoi(id), .l_len = 1};
    struct flock other = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1};
    if (log < 0 || fcntl(log, F_OFD_SETLK, &lock) || fcntl(log, F_OFD_GETLK, &other))
        err(1, "%s", log_name);
    if (fstatat(running, claimed, &status, AT_SYMLINK_NOFOLLOW) || fstat(log, &status))
        err(1, "%s", claimed);

    snprintf(script, sizeof script,
             "trap 'printf \"\\n#queuectl end attempt=1 started_at=%.20s exit=%%d\\n\" $?>&9' 0;"
             "echo \"#queuectl start attempt=1 started_at=%.20s worker=host.%d.aaaa pid=$$\";true",
             run_at, run_at, getpid());
    char *argv[] = {"sh", "-c", script, "sh", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, null, 0);
    posix_spawn_file_actions_adddup2(&actions, log, 1);
    posix_spawn_file_actions_adddup2(&actions, log, 2);
    posix_spawn_file_actions_adddup2(&actions, log, 9);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    pid_t pid;
    if (posix_spawn(&pid, "/bin/sh", &actions, &attributes, argv, environ))
        errx(1, "cannot start a shell");
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    siginfo_t info;
    int code;
    waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
    wait4(pid, &code, 0, &usage);

    if (fstat(log, &status) || pread(log, end, sizeof end, status.st_size > 255 ? status.st_size - 255 : 0) <= 0)
        err(1, "%s", log_name);
    int size = snprintf(used, sizeof used, "#queuectl note used attempt=1 max_rss=%ld cpu_user=%ld.%03ld cpu_system=0.000\n",
                        usage.ru_maxrss * 1024, (long)usage.ru_utime.tv_sec, (long)usage.ru_utime.tv_usec / 1000);
    if (write(log, used, (size_t)size) != size)
        err(1, "%s", log_name);
    snprintf(finished, sizeof finished, "%.20s-%.3s-1-exit%d-0.001s-%s", run_at, name, WEXITSTATUS(code), id);
    if (renameat(running, claimed, done, finished))
        err(1, "settle %s", name);
    close(log);
}

static void *slot(void *unused)
{
    for (int mine; (mine = atomic_fetch_add(&next, 1)) < count;)
        run(names[mine]);
    return unused;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        errx(2, "usage: floor SPOOL");
    pending = directory(argv[1], "pending");
    running = directory(argv[1], "running");
    done = directory(argv[1], "done");
    logs = directory(argv[1], "logs");
    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    DIR *listing = fdopendir(dup(pending));
    for (struct dirent *entry; (entry = readdir(listing));)
        if (strlen(entry->d_name) > 30 && strchr(entry->d_name, '-')) {
            names = realloc(names, (size_t)(count + 1) * sizeof *names);
            names[count++] = strdup(entry->d_name);
        }
    qsort(names, (size_t)count, sizeof *names, by_name);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, slot, NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
