/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's program file (guest/agent), carried in this one. */
#pragma once

extern const char run_agent_image[], run_agent_image_end[];
