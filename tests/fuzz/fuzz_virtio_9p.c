/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: a hostile driver of a shared folder, with the real server of files behind it: messages through
 * the ring in buffers of any shape, flushes and syncs that other threads answer, resets while they do.
 * After each input what lies beside the folder must be untouched. What messages alone can do, fuzz_9p.c looks
 * at, faster.
 */
#include "devices/virtio/9p.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/virtio_driver.h"
#include "tests/unit/p9_folder.h"
#include "vmm/backend/p9/p9_wire.h"
#include "vmm/core/share.h"

#define MESSAGE_FIELDS 63
#define REPLY_BYTES    1024u
#define REPLY_OFFSET   4096u /* of the last reply's room, from the message */

/*
 * Operands: type, tag, shape, number of bytes of fields, the fields. A message as the protocol has it, in one
 * readable buffer or two, with room for the reply in one or two.
 */
static void send_message(struct virtio_driver *driver)
{
	uint8_t type = (uint8_t)virtio_fuzz_take(driver->input, 1);
	uint16_t tag = (uint16_t)virtio_fuzz_take(driver->input, 1);
	uint8_t shape = (uint8_t)virtio_fuzz_take(driver->input, 1);
	size_t fields = virtio_fuzz_take(driver->input, 1) & MESSAGE_FIELDS;
	uint32_t size = (uint32_t)(P9_HEADER_SIZE + fields);
	uint64_t gpa = driver->arena + (shape & 15u) * 256;
	uint8_t *bytes = virtio_guest_at(driver->guest, gpa, size);
	struct p9_writer head = {bytes, bytes + P9_HEADER_SIZE, false};
	uint32_t first = shape & 16 ? 1 + (tag % size) : size;
	uint32_t room = shape & 32 ? tag : REPLY_BYTES;
	const struct virtio_guest_buffer buffers[] = {
		{.gpa = gpa, .len = first},
		{.gpa = gpa + first, .len = size - first},
		{.gpa = gpa + REPLY_OFFSET, .len = room, .write = true},
		{.gpa = gpa + 2 * REPLY_OFFSET, .len = REPLY_BYTES, .write = true},
	};
	struct virtio_guest_buffer used[4];
	unsigned count = 0;

	p9_put_u32(&head, size);
	p9_put_u8(&head, type);
	p9_put_u16(&head, type == P9_TVERSION ? P9_NO_TAG : tag);
	for (size_t i = 0; i < fields; i++)
		bytes[P9_HEADER_SIZE + i] = (uint8_t)virtio_fuzz_take(driver->input, 1);
	for (unsigned i = 0; i < (shape & 64 ? 4 : 3); i++)
		if (buffers[i].len > 0)
			used[count++] = buffers[i];
	virtio_guest_add(driver->guest, 0, used, count);
	if (!(shape & 128))
		virtio_guest_kick(driver->guest, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtio_fuzz_input input = {data, size};
	struct virtio_driver driver = {
		.guest = virtio_guest_create(), .input = &input, .other = send_message};
	uint8_t how = (uint8_t)virtio_fuzz_take(&input, 1);
	void *folder = NULL;
	struct share_config share = {.readonly = how & 1};
	struct virtio_9p_config config = {.id = "share0", .tag = "t"};

	if (p9_folder_setup(&folder) != 0)
		return 0;
	share.path = ((struct p9_folder *)folder)->share;
	config.share = share_open_9p(&share, &driver.guest->err);
	driver.device = virtio_9p_create(&driver.guest->env, &config, &driver.guest->err);
	virtio_driver_run(&driver);
	virtio_guest_destroy(driver.guest);
	folder_expect_untouched(folder);
	p9_folder_teardown(&folder);
	return 0;
}
