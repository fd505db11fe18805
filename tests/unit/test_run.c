/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of `vmmctl run` that need no guest: initramfs, module order, file systems, the task, and a
 * session with an agent played by the test. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>

#include "guest/agent/agent.h"
#include "guest/protocol.h"
#include "tests/unit/temp_folder.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"
#include "vmm/run/cpio.h"
#include "vmm/run/modules.h"
#include "vmm/run/rootfs.h"
#include "vmm/run/session.h"
#include "vmm/run/task.h"

static void write_file(const char *name, const void *data, size_t size)
{
	FILE *file = fopen(in_folder(name), "w");

	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, size, file), size);
	fclose(file);
}

static void test_an_initramfs_is_a_cpio_archive(void **state)
{
	FILE *out = fopen(in_folder("initramfs"), "w");
	struct cpio cpio = {.out = out};
	struct archive *archive = archive_read_new();
	struct archive_entry *entry;
	char bytes[16] = "";
	struct err err = {0};

	write_file("source", "12345", 5);
	cpio_add_folder(&cpio, "dev");
	cpio_add_device(&cpio, "dev/console", 5, 1);
	cpio_add_program(&cpio, "init", "#!run", 5);
	assert_int_equal(cpio_add_file(&cpio, "file", in_folder("source"), &err), 0);
	assert_int_equal(cpio_add_file(&cpio, "none", in_folder("absent"), &err), -ENOENT);
	cpio_finish(&cpio);
	fclose(out);

	archive_read_support_format_cpio(archive);
	assert_int_equal(archive_read_open_filename(archive, in_folder("initramfs"), 4096), ARCHIVE_OK);
	assert_int_equal(archive_read_next_header(archive, &entry), ARCHIVE_OK);
	assert_string_equal(archive_entry_pathname(entry), "dev");
	assert_int_equal(archive_entry_filetype(entry), AE_IFDIR);
	assert_int_equal(archive_read_next_header(archive, &entry), ARCHIVE_OK);
	assert_int_equal(archive_entry_filetype(entry), AE_IFCHR);
	assert_int_equal(archive_entry_rdevmajor(entry), 5);
	assert_int_equal(archive_entry_rdevminor(entry), 1);
	assert_int_equal(archive_read_next_header(archive, &entry), ARCHIVE_OK);
	assert_string_equal(archive_entry_pathname(entry), "init");
	assert_int_equal(archive_entry_perm(entry), 0755);
	assert_int_equal(archive_read_data(archive, bytes, sizeof(bytes)), 5);
	assert_memory_equal(bytes, "#!run", 5);
	assert_int_equal(archive_read_next_header(archive, &entry), ARCHIVE_OK);
	assert_string_equal(archive_entry_pathname(entry), "file");
	assert_int_equal(archive_read_data(archive, bytes, sizeof(bytes)), 5);
	assert_memory_equal(bytes, "12345", 5);
	assert_int_equal(archive_read_next_header(archive, &entry), ARCHIVE_EOF);
	archive_read_free(archive);
}

/* A module with nothing in it but its information. */
static void write_module(const char *name, const char *depends)
{
	struct {
		Elf64_Ehdr head;
		Elf64_Shdr section[3];
		char names[32];
		char info[128];
	} file = {
		.head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64},
			 .e_shentsize = sizeof(Elf64_Shdr),
			 .e_shnum = 3,
			 .e_shstrndx = 1},
		.names = "\0.shstrtab\0.modinfo",
	};
	size_t info_len = 0;

	file.head.e_shoff = offsetof(__typeof__(file), section);
	file.section[1] = (Elf64_Shdr){
		.sh_name = 1, .sh_offset = offsetof(__typeof__(file), names), .sh_size = sizeof(file.names)};
	memcpy(file.info, "license=GPL", 12);
	info_len = 12 + (size_t)snprintf(file.info + 12, sizeof(file.info) - 12, "depends=%s", depends) + 1;
	file.section[2] = (Elf64_Shdr){
		.sh_name = 11, .sh_offset = offsetof(__typeof__(file), info), .sh_size = info_len};
	write_file(name, &file, sizeof(file));
}

static void test_modules_come_after_what_they_need(void **state)
{
	const char *const *paths;
	struct modules *modules;
	struct err err = {0};

	mkdir(in_folder("modules"), 0755);
	mkdir(in_folder("modules/deep"), 0755);
	write_module("modules/top.ko", "mid-dle,built_in");
	write_module("modules/deep/mid_dle.ko", "base");
	write_module("modules/deep/base.ko", "");
	write_module("modules/other.ko", "base");
	modules = modules_open(in_folder("modules"), &err);
	assert_non_null(modules);
	assert_int_equal(modules_want(modules, "top", &err), 0);
	assert_int_equal(modules_want(modules, "other", &err), 0);
	assert_int_equal(modules_want(modules, "absent", &err), 0);
	assert_int_equal(modules_wanted(modules, &paths), 4);
	assert_string_equal(paths[0], in_folder("modules/deep/base.ko"));
	assert_string_equal(paths[1], in_folder("modules/deep/mid_dle.ko"));
	assert_string_equal(paths[2], in_folder("modules/top.ko"));
	assert_string_equal(paths[3], in_folder("modules/other.ko"));
	modules_close(modules);
}

static void test_modules_that_are_broken(void **state)
{
	struct modules *modules;
	struct err err = {0};

	mkdir(in_folder("broken"), 0755);
	write_module("broken/round.ko", "about");
	write_module("broken/about.ko", "round");
	write_file("broken/text.ko", "no ELF at all", 13);
	modules = modules_open(in_folder("broken"), &err);
	assert_non_null(modules);
	assert_int_equal(modules_want(modules, "round", &err), -ELOOP);
	assert_int_equal(modules_want(modules, "text", &err), -EBADMSG);
	modules_close(modules);
	assert_null(modules_open(in_folder("nowhere"), &err));
	modules = modules_open(NULL, &err);
	assert_non_null(modules);
	assert_int_equal(modules_want(modules, "anything", &err), 0);
	modules_close(modules);
}

static void test_roots_are_told_by_their_bytes(void **state)
{
	static char image[0x10100];
	struct rootfs rootfs;
	struct err err = {0};

	assert_int_equal(rootfs_look(&rootfs, temp_folder(), &err), 0);
	assert_true(rootfs.is_folder);
	memcpy(image + 1080, "\x53\xef", 2);
	write_file("image", image, sizeof(image));
	assert_int_equal(rootfs_look(&rootfs, in_folder("image"), &err), 0);
	assert_false(rootfs.is_folder);
	assert_string_equal(rootfs.kind, "ext4");
	memset(image, 0, sizeof(image));
	memcpy(image, "hsqs", 4);
	write_file("image", image, sizeof(image));
	assert_int_equal(rootfs_look(&rootfs, in_folder("image"), &err), 0);
	assert_string_equal(rootfs.module, "squashfs");
	memset(image, 0, sizeof(image));
	memcpy(image + 510, "\x55\xaa", 2);
	write_file("image", image, sizeof(image));
	assert_int_equal(rootfs_look(&rootfs, in_folder("image"), &err), -EBADMSG);
	assert_non_null(strstr(err.message, "partition table"));
	assert_int_equal(rootfs_look(&rootfs, in_folder("absent"), &err), -ENOENT);
}

static void test_the_agent_reads_what_we_write(void **state)
{
	static struct agent_task read_back;
	struct run_task task = {0};
	struct err err = {0};

	assert_int_equal(run_task_add(&task, 'r', &err, "ext4 /dev/vda ro"), 0);
	assert_int_equal(run_task_add(&task, 'm', &err, "tag rw /mnt/a b"), 0);
	assert_int_equal(run_task_add(&task, 'n', &err, "10.0.2.15/24 10.0.2.2 10.0.2.3"), 0);
	assert_int_equal(run_task_add(&task, 't', &err, "24 80"), 0);
	assert_int_equal(run_task_add(&task, 'e', &err, "A=1 2"), 0);
	assert_int_equal(run_task_add(&task, 'a', &err, "%s", "sh"), 0);
	assert_int_equal(run_task_add(&task, 'a', &err, "%s", ""), 0);
	assert_int_equal(agent_parse_task(&read_back, task.bytes, task.len), 0);
	assert_string_equal(read_back.root.kind, "ext4");
	assert_string_equal(read_back.root.source, "/dev/vda");
	assert_string_equal(read_back.root.mode, "ro");
	assert_int_equal(read_back.mount_count, 1);
	assert_string_equal(read_back.mount[0].path, "/mnt/a b");
	assert_string_equal(read_back.nameserver, "10.0.2.3");
	assert_true(read_back.has_terminal && read_back.rows == 24 && read_back.columns == 80);
	assert_string_equal(read_back.envp[0], "A=1 2");
	assert_int_equal(read_back.argc, 2);
	assert_string_equal(read_back.argv[1], "");
	run_task_free(&task);
}

static void test_tasks_that_make_no_sense(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} tasks[] = {
		{"rext4 /dev/vda ro\0ash", 21},       /* not ended */
		{"rext4 /dev/vda ro\0", 18},          /* no command */
		{"ash\0", 4},                         /* no root */
		{"rext4 /dev/vda\0ash\0", 19},        /* no mode */
		{"rext4 /dev/vda ro\0qx\0ash\0", 25}, /* no such letter */
		{"rext4 /dev/vda ro\0t24x80\0ash\0", 29},
		{"rext4 /dev/vda ro\0\0ash\0", 23},
	};

	for (size_t i = 0; i < sizeof(tasks) / sizeof(tasks[0]); i++) {
		struct agent_task *task = calloc(1, sizeof(*task));
		char text[64];

		memcpy(text, tasks[i].text, tasks[i].len);
		assert_int_equal(agent_parse_task(task, text, tasks[i].len), -1);
		free(task);
	}
}

static void test_a_task_has_a_limit(void **state)
{
	struct run_task task = {0};
	struct err err = {0};
	char *word = malloc(GUEST_START_MAX);

	memset(word, 'x', GUEST_START_MAX - 1);
	word[GUEST_START_MAX - 1] = '\0';
	assert_int_equal(run_task_add(&task, 'a', &err, "%s", word), -E2BIG);
	word[GUEST_START_MAX - 2] = '\0';
	assert_int_equal(run_task_add(&task, 'a', &err, "%s", word), 0);
	assert_int_equal(task.len, GUEST_START_MAX);
	assert_int_equal(run_task_add(&task, 'a', &err, "y"), -E2BIG);
	run_task_free(&task);
	free(word);
}

/* A session, and the connections that an agent would make. */
struct bench {
	struct loop *loop;
	struct session *session;
	unsigned ends, status;
	int saved[3], pipe[3][2]; /* this process's own descriptors, and what stands in for them */
};

static void bench_on_end(void *opaque, unsigned status)
{
	struct bench *bench = opaque;

	bench->ends++;
	bench->status = status;
}

static void bench_set_up(struct bench *bench)
{
	struct session_config config = {
		.socket_path = in_folder("socket"), .task = "task", .task_len = 5, .on_end = bench_on_end};
	struct err err = {0};

	*bench = (struct bench){.ends = 0};
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pipe2(bench->pipe[i], O_CLOEXEC), 0);
		bench->saved[i] = dup(i);
		dup2(bench->pipe[i][i ? 1 : 0], i);
	}
	bench->loop = loop_create(&err);
	config.loop = bench->loop;
	config.opaque = bench;
	bench->session = session_create(&config, &err);
	assert_non_null(bench->session);
}

static void bench_run(struct bench *bench)
{
	for (int i = 0; i < 5; i++)
		loop_run_once(bench->loop, 20);
}

static void bench_tear_down(struct bench *bench)
{
	session_destroy(bench->session);
	loop_destroy(bench->loop);
	for (int i = 0; i < 3; i++) {
		dup2(bench->saved[i], i);
		close(bench->saved[i]);
		close(bench->pipe[i][0]);
		close(bench->pipe[i][1]);
	}
	assert_int_not_equal(access(in_folder("socket"), F_OK), 0);
}

static int agent_open(struct bench *bench, char role)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(address.sun_path, in_folder("socket"));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(write(fd, &role, 1), 1);
	bench_run(bench);
	return fd;
}

static void agent_say(struct bench *bench, int fd, uint32_t type, const void *payload, uint32_t len)
{
	const struct guest_message message = {.type = type, .length = len};

	assert_int_equal(write(fd, &message, sizeof(message)), sizeof(message));
	if (len > 0)
		assert_int_equal(write(fd, payload, len), len);
	bench_run(bench);
}

static void test_a_session_carries_and_ends(void **state)
{
	const struct guest_exited exited = {.status = 7};
	struct guest_message message;
	struct guest_signal signal_;
	struct bench bench;
	char bytes[16];
	int link[4];

	bench_set_up(&bench);
	for (int i = 0; i < 4; i++)
		link[i] = agent_open(&bench, "cioe"[i]);
	assert_int_equal(read(link[0], &message, sizeof(message)), sizeof(message));
	assert_int_equal(message.type, GUEST_START);
	assert_int_equal(read(link[0], bytes, sizeof(bytes)), 5);
	assert_string_equal(bytes, "task");
	/* No signal before the start. */
	session_send_signal(bench.session, 15);
	agent_say(&bench, link[0], GUEST_STARTED, NULL, 0);
	assert_true(session_has_started(bench.session));
	session_send_signal(bench.session, 10);
	assert_int_equal(read(link[0], &message, sizeof(message)), sizeof(message));
	assert_int_equal(message.type, GUEST_SIGNAL);
	assert_int_equal(read(link[0], &signal_, sizeof(signal_)), sizeof(signal_));
	assert_int_equal(signal_.number, 10);

	assert_int_equal(write(bench.pipe[0][1], "input", 5), 5);
	assert_int_equal(read(link[1], bytes, sizeof(bytes)), 5);
	assert_memory_equal(bytes, "input", 5);
	assert_int_equal(write(link[2], "out", 3), 3);
	assert_int_equal(read(bench.pipe[1][0], bytes, sizeof(bytes)), 3);
	assert_int_equal(write(link[3], "errors", 6), 6);
	assert_int_equal(read(bench.pipe[2][0], bytes, sizeof(bytes)), 6);

	/* The status waits for the outputs. */
	agent_say(&bench, link[0], GUEST_EXITED, &exited, sizeof(exited));
	assert_int_equal(bench.ends, 0);
	close(link[2]);
	close(link[3]);
	bench_run(&bench);
	assert_int_equal(bench.ends, 1);
	assert_int_equal(bench.status, 7);
	bench_tear_down(&bench);
	close(link[0]);
	close(link[1]);
}

static void test_a_command_that_cannot_start(void **state)
{
	struct {
		struct guest_failed failed;
		char text[16];
	} payload = {.failed = {.status = 127}, .text = "no\033[31m such"};
	struct bench bench;
	int control;

	bench_set_up(&bench);
	control = agent_open(&bench, 'c');
	agent_say(&bench, control, GUEST_FAILED, &payload, sizeof(payload.failed) + 12);
	assert_int_equal(bench.ends, 1);
	assert_int_equal(bench.status, 127);
	assert_string_equal(session_failure(bench.session), "no?[31m such");
	bench_tear_down(&bench);
	close(control);
}

static void test_a_hostile_agent(void **state)
{
	const struct guest_exited exited = {.status = 0xffffff00};
	struct bench bench;
	int control;
	int second;
	char byte;

	bench_set_up(&bench);
	control = agent_open(&bench, 'c');
	/* Roles are given once; unknown ones not at all. */
	second = agent_open(&bench, 'c');
	assert_int_equal(read(second, &byte, 1), 0);
	close(second);
	second = agent_open(&bench, 'x');
	assert_int_equal(read(second, &byte, 1), 0);
	close(second);
	/* A status of a wrong size, an unknown message, then one without end. */
	agent_say(&bench, control, GUEST_EXITED, &exited, 2);
	agent_say(&bench, control, 4711, &exited, sizeof(exited));
	assert_int_equal(bench.ends, 0);
	agent_say(&bench, control, GUEST_EXITED, &exited, sizeof(exited));
	assert_int_equal(bench.ends, 1);
	assert_int_equal(bench.status, 0);
	assert_int_equal(write(control, &(struct guest_message){.type = 1, .length = UINT32_MAX}, 8), 8);
	bench_run(&bench);
	assert_int_equal(bench.ends, 1);
	bench_tear_down(&bench);
	close(control);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_initramfs_is_a_cpio_archive),
		cmocka_unit_test(test_modules_come_after_what_they_need),
		cmocka_unit_test(test_modules_that_are_broken),
		cmocka_unit_test(test_roots_are_told_by_their_bytes),
		cmocka_unit_test(test_the_agent_reads_what_we_write),
		cmocka_unit_test(test_tasks_that_make_no_sense),
		cmocka_unit_test(test_a_task_has_a_limit),
		cmocka_unit_test(test_a_session_carries_and_ends),
		cmocka_unit_test(test_a_command_that_cannot_start),
		cmocka_unit_test(test_a_hostile_agent),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, temp_folder_make, temp_folder_remove);
}
