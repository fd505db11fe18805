/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints docs made from vmmctl's option tables: `docgen man TEMPLATE` replaces the line @commands@ of a
 * manual page's template, `docgen completion` prints the bash completion. The results are kept in docs/; a
 * test compares them.
 */
#include <stdio.h>
#include <string.h>

#include "vmm/machine/cli.h"

static int docgen_man(const char *template_path)
{
	char line[512];
	FILE *template_file = fopen(template_path, "r");

	if (!template_file) {
		perror(template_path);
		return 1;
	}
	while (fgets(line, sizeof(line), template_file)) {
		if (strcmp(line, "@commands@\n") == 0)
			cli_print_man_commands(stdout);
		else
			fputs(line, stdout);
	}
	fclose(template_file);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "man") == 0)
		return docgen_man(argv[2]);
	if (argc == 2 && strcmp(argv[1], "completion") == 0) {
		cli_print_completion(stdout);
		return 0;
	}
	fprintf(stderr, "usage: docgen man TEMPLATE | docgen completion\n");
	return 2;
}
