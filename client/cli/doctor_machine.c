/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The machine: its clocks, and what the worker's own probe says of CPUs, memory, control groups and
 * GPUs.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "client/cli/capture.h"
#include "client/cli/doctor.h"
#include "client/cli/text.h"
#include "lib/base/str.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define PROBE_BYTES_MAX 65536
#define PAUSE_MS        20
#define SKEW_US_MAX     1000000             /* between machines: people compare times of logs */
#define OLDEST_US       INT64_C(1763683200000000) /* 2025-11-21: no mlq is older */
#define FILES_LEAST     1024
#define NVIDIA_VENDOR   "0x10de"

static const char sync_clock[] = "timedatectl set-ntp true   # or start chrony";

void doctor_machine_clock_of(struct doctor *doctor, const char *whose, int64_t theirs_us, int64_t ours_us)
{
    int64_t ahead = theirs_us - ours_us;
    const char *name = mlq_region_format(doctor->region, "clock of %s", whose);
    if (ahead > SKEW_US_MAX || ahead < -SKEW_US_MAX) {
        doctor_add(doctor, DOCTOR_WRONG, name, sync_clock, "%.1f s %s this machine's",
                   (double)(ahead < 0 ? -ahead : ahead) / 1e6, ahead < 0 ? "behind" : "ahead of");
    } else {
        doctor_add(doctor, DOCTOR_OK, name, NULL, "within a second of this machine's");
    }
}

/* Leases are counted on the clock since boot: it must go on, and as fast as the wall's. */
static void check_clock(struct doctor *doctor)
{
    char now[MLQ_CLOCK_TEXT_BYTES];
    int64_t boot = mlq_clock_boot_ns();
    int64_t wall = mlq_clock_wall_us();
    (void)poll(NULL, 0, PAUSE_MS);
    int64_t boot_us = (mlq_clock_boot_ns() - boot) / 1000;
    int64_t wall_us = mlq_clock_wall_us() - wall;
    mlq_clock_format_wall(wall, now);
    if (boot_us < PAUSE_MS * 1000 / 2) {
        doctor_add(doctor, DOCTOR_WRONG, "clock", NULL,
                   "the clock since boot went %" PRId64 " us in a pause of %d ms: leases cannot be trusted here",
                   boot_us, PAUSE_MS);
    } else if (wall < OLDEST_US || wall_us - boot_us > SKEW_US_MAX || boot_us - wall_us > SKEW_US_MAX) {
        doctor_add(doctor, DOCTOR_WRONG, "clock", sync_clock, "it is %s and %s", now,
                   wall < OLDEST_US ? "that is in the past" : "the wall clock was just moved");
    } else {
        doctor_add(doctor, DOCTOR_OK, "clock", NULL, "%s, steady", now);
    }
}

static void check_files(struct doctor *doctor)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    if (limit.rlim_cur < FILES_LEAST) {
        doctor_add(doctor, DOCTOR_WRONG, "open files", "ulimit -n 4096",
                   "the limit is %llu: at least %d are needed", (unsigned long long)limit.rlim_cur,
                   FILES_LEAST);
    } else {
        doctor_add(doctor, DOCTOR_OK, "open files", NULL, "at most %llu",
                   (unsigned long long)limit.rlim_cur);
    }
}

/* The rest of the probe's line that begins with `key`, or "". */
static const char *probe_line(struct doctor *doctor, const char *probe, const char *key)
{
    struct mlq_str rest = mlq_str_from(probe);
    while (rest.len > 0) {
        struct mlq_str line;
        struct mlq_str tail;
        struct mlq_str word;
        struct mlq_str value;
        (void)mlq_str_cut(rest, '\n', &line, &tail);
        rest = tail;
        if (mlq_str_cut(line, ' ', &word, &value) && mlq_str_eq_c(word, key)) {
            return mlq_region_strndup(doctor->region, value);
        }
    }
    return "";
}

/* How the kernel's limits come into reach. With control groups of version 2 a user's own systemd gives
 * a part of the tree away; else only root may make groups. */
static const char *limits_remedy(void)
{
    return geteuid() != 0 && access("/sys/fs/cgroup/cgroup.controllers", R_OK) == 0
               ? "mlq down; systemd-run --user --scope mlq up"
               : "run workers as root, where /sys/fs/cgroup is writable";
}

static void check_limits(struct doctor *doctor, const char *probe)
{
    char memory[TEXT_BYTES];
    const char *limits = probe_line(doctor, probe, "limits");
    int64_t cpu_milli = strtoll(probe_line(doctor, probe, "cpu_milli"), NULL, 10);
    uint64_t bytes = strtoull(probe_line(doctor, probe, "mem_bytes"), NULL, 10);
    doctor_add(doctor, DOCTOR_OK, "resources", NULL, "%g CPUs, %s of memory may be used",
               (double)cpu_milli / 1000, text_bytes(bytes, memory));
    if (strstr(limits, "memory,cpu,pids") != NULL) {
        doctor_add(doctor, DOCTOR_OK, "cgroup", NULL, "%s: the kernel holds tasks to their limits",
                   limits);
    } else {
        doctor_add(doctor, DOCTOR_NOTE, "cgroup", limits_remedy(), "%s: %s", limits,
                   strstr(limits, "memory is watched") != NULL
                       ? "what has no control group is not held by the kernel; memory is measured, and a task over its "
                         "limit is killed a moment later"
                       : "CPUs or the number of processes are not limited");
    }
}

/* Whether a display or compute device of NVIDIA is on the PCI bus. */
static bool has_nvidia_device(void)
{
    static const char folder[] = "/sys/bus/pci/devices";
    DIR *devices = opendir(folder);
    bool found = false;
    for (struct dirent *entry = devices == NULL ? NULL : readdir(devices); entry != NULL && !found;
         entry = readdir(devices)) {
        char *vendor = NULL;
        char *class = NULL;
        size_t len;
        char *vendor_path = mlq_format("%s/%s/vendor", folder, entry->d_name);
        char *class_path = mlq_format("%s/%s/class", folder, entry->d_name);
        found = mlq_fs_read(vendor_path, 64, &vendor, &len, NULL) == MLQ_OK &&
                strncmp(vendor, NVIDIA_VENDOR, strlen(NVIDIA_VENDOR)) == 0 &&
                mlq_fs_read(class_path, 64, &class, &len, NULL) == MLQ_OK &&
                strncmp(class, "0x03", 4) == 0;
        mlq_free(vendor);
        mlq_free(class);
        mlq_free(vendor_path);
        mlq_free(class_path);
    }
    if (devices != NULL) {
        closedir(devices);
    }
    return found;
}

static bool has_library(const char *name)
{
    void *library = dlopen(name, RTLD_LAZY | RTLD_LOCAL);
    if (library != NULL) {
        (void)dlclose(library);
    }
    return library != NULL;
}

/* "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  ...": the number, or NULL: no driver. */
static const char *driver_version(struct doctor *doctor)
{
    char *data = NULL;
    size_t len;
    const char *version = NULL;
    if (mlq_fs_read("/proc/driver/nvidia/version", 4096, &data, &len, NULL) == MLQ_OK) {
        const char *at = strstr(data, "Module");
        at = at == NULL ? data : at + strlen("Module");
        at += strcspn(at, "0123456789");
        version = mlq_region_strndup(doctor->region, (struct mlq_str){at, strspn(at, "0123456789.")});
    }
    mlq_free(data);
    return version;
}

static void check_gpus(struct doctor *doctor, const char *probe)
{
    unsigned long count = strtoul(probe_line(doctor, probe, "gpus"), NULL, 10);
    const char *source = probe_line(doctor, probe, "gpu_source");
    const char *driver = driver_version(doctor);
    const char *nvml = has_library("libnvidia-ml.so.1") ? "NVML is there" : "NVML (libnvidia-ml.so.1) is not";
    if (count > 0) {
        doctor_add(doctor, DOCTOR_OK, "gpu", NULL, "%lu by %s, driver %s, %s", count, source,
                   driver == NULL ? "unknown" : driver, nvml);
    } else if (driver != NULL) {
        doctor_add(doctor, DOCTOR_WRONG, "gpu", "nvidia-smi -L   # it says why; after an upgrade: reboot",
                   "driver %s is loaded, but neither nvidia-smi nor /proc/driver/nvidia names a GPU; %s", driver, nvml);
    } else if (has_nvidia_device()) {
        doctor_add(doctor, DOCTOR_NOTE, "gpu", "apt-get install nvidia-driver   # non-free; then reboot",
                   "an NVIDIA device is on the bus, its driver is not loaded: tasks get no GPU");
    } else {
        doctor_add(doctor, DOCTOR_OK, "gpu", NULL, "none: no NVIDIA device and no driver");
    }
}

void doctor_machine(struct doctor *doctor)
{
    check_clock(doctor);
    check_files(doctor);
    char *worker = mlq_fs_join(doctor->bin_dir, "mlq-worker");
    const char *argv[] = {worker, "--probe", NULL};
    struct capture probe = capture_run(argv, PROBE_BYTES_MAX, true);
    if (probe.status == 0) {
        check_limits(doctor, probe.text);
        check_gpus(doctor, probe.text);
    } else {
        doctor_add(doctor, DOCTOR_WRONG, "resources", NULL, "%s --probe failed: %.200s", worker,
                   probe.text[0] == '\0' ? "it cannot be started" : probe.text);
    }
    capture_clear(&probe);
    mlq_free(worker);
}
