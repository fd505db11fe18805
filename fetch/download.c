/* SPDX-License-Identifier: Apache-2.0 */
/* Downloads by libcurl, checksums by libcrypto. */
#include "fetch/download.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"

#define DOWNLOAD_STALL_S      30L /* a mirror that sends less than a byte a second for so long is gone */
#define DOWNLOAD_CONNECT_S    20L
#define DOWNLOAD_REDIRECTS    5L
#define DOWNLOAD_PROGRESS_TTY (200ull * 1000 * 1000)       /* ns between two looks of a progress line */
#define DOWNLOAD_PROGRESS_LOG (10ull * 1000 * 1000 * 1000) /* the same where lines cannot be overwritten */

struct download_state {
	const struct download *request;
	FILE *file;
	EVP_MD_CTX *digest;
	uint64_t received;
	uint64_t shown_ns; /* when progress was last printed */
	bool too_large;
	bool is_tty;
	bool has_line; /* an unfinished progress line is on the terminal */
};

static size_t download_on_data(char *data, size_t unit, size_t count, void *opaque)
{
	struct download_state *state = opaque;
	size_t len = unit * count;

	if (len > state->request->size_max - state->received) {
		state->too_large = true;
		return 0;
	}
	if (fwrite(data, 1, len, state->file) != len || !EVP_DigestUpdate(state->digest, data, len))
		return 0;
	state->received += len;
	return len;
}

static int download_on_progress(void *opaque, curl_off_t total, curl_off_t now, curl_off_t up_total,
				curl_off_t up)
{
	struct download_state *state = opaque;
	uint64_t interval = state->is_tty ? DOWNLOAD_PROGRESS_TTY : DOWNLOAD_PROGRESS_LOG;
	uint64_t now_ns = clock_monotonic_ns();

	if (!state->request->label || now <= 0 || now_ns - state->shown_ns < interval)
		return 0;
	state->shown_ns = now_ns;
	state->has_line = state->is_tty;
	fprintf(stderr, "%s%s: %.1f", state->is_tty ? "\r\033[K" : "", state->request->label,
		(double)now / 1e6);
	if (total > 0)
		fprintf(stderr, " of %.1f MB (%d%%)", (double)total / 1e6, (int)(now * 100 / total));
	else
		fputs(" MB", stderr);
	if (!state->is_tty)
		fputc('\n', stderr);
	return 0;
}

static void download_configure(CURL *curl, struct download_state *state, char *message)
{
	curl_easy_setopt(curl, CURLOPT_URL, state->request->url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https,file");
	curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(curl, CURLOPT_MAXREDIRS, DOWNLOAD_REDIRECTS);
	curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, DOWNLOAD_CONNECT_S);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, DOWNLOAD_STALL_S);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "vmmctl-fetch");
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, download_on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, state);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, download_on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, state);
}

static int download_transfer(struct download_state *state, struct err *err)
{
	char message[CURL_ERROR_SIZE] = "";
	CURL *curl = curl_easy_init();
	CURLcode result;

	if (!curl)
		return err_set(err, -ENOMEM, "no memory for a download");
	download_configure(curl, state, message);
	result = curl_easy_perform(curl);
	curl_easy_cleanup(curl);
	if (state->has_line)
		fputs("\r\033[K", stderr);
	if (result == CURLE_OK)
		return 0;
	if (state->too_large)
		return err_set(err, -EFBIG, "%s is larger than %" PRIu64 " MiB, which no such file is",
			       state->request->url, state->request->size_max >> 20);
	if (ferror(state->file))
		return err_set_errno(err, -errno, "%s", state->request->path);
	return err_set(err, -EIO, "%s: %s", state->request->url,
		       message[0] ? message : curl_easy_strerror(result));
}

static int download_check(struct download_state *state, struct err *err)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	char hex[DOWNLOAD_SHA256_HEX];
	unsigned len = 0;

	if (!EVP_DigestFinal_ex(state->digest, sum, &len) || len != 32)
		return err_set(err, -EIO, "SHA-256 failed");
	for (unsigned i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", sum[i]);
	if (!state->request->expected || strcmp(hex, state->request->expected) == 0)
		return 0;
	return err_set(err, -EBADMSG, "%s: its SHA-256 is %s, not %s: it was damaged or changed on the way",
		       state->request->url, hex, state->request->expected);
}

int download_file(const struct download *download, struct err *err)
{
	struct download_state state = {.request = download, .is_tty = isatty(STDERR_FILENO)};
	int code;

	state.file = fopen(download->path, "we");
	if (!state.file)
		return err_set_errno(err, -errno, "%s", download->path);
	state.shown_ns = clock_monotonic_ns();
	state.digest = EVP_MD_CTX_new();
	if (!state.digest || !EVP_DigestInit_ex(state.digest, EVP_sha256(), NULL))
		code = err_set(err, -ENOMEM, "no memory for a checksum");
	else
		code = download_transfer(&state, err);
	if (code == 0)
		code = download_check(&state, err);
	EVP_MD_CTX_free(state.digest);
	if (fclose(state.file) != 0 && code == 0)
		code = err_set_errno(err, -errno, "%s", download->path);
	if (code < 0)
		unlink(download->path);
	return code;
}

int download_begin(struct err *err)
{
	return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK
		       ? 0
		       : err_set(err, -EIO, "libcurl does not start");
}

void download_end(void)
{
	curl_global_cleanup();
}
