# SPDX-License-Identifier: Apache-2.0
# bash completion of vmmctl. Generated from the option tables: `ninja -C build docs-update` makes it anew.

_vmmctl() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=
	COMPREPLY=()
	case $before in
	--kernel)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--initrd)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--append)
		return ;;
	--module)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--protocol)
		mapfile -t COMPREPLY < <(compgen -W 'auto linux pvh multiboot flat' -- "$word")
		return ;;
	--mem)
		return ;;
	--cpus)
		return ;;
	--cpu)
		mapfile -t COMPREPLY < <(compgen -W 'auto x86-64 x86-64-v2 x86-64-v3 max' -- "$word")
		return ;;
	--accel)
		mapfile -t COMPREPLY < <(compgen -W 'auto kvm tcg' -- "$word")
		return ;;
	--accel-switch-every)
		return ;;
	--irqchip)
		mapfile -t COMPREPLY < <(compgen -W 'auto kernel split off' -- "$word")
		return ;;
	--dirty-log)
		mapfile -t COMPREPLY < <(compgen -W 'bitmap ring' -- "$word")
		return ;;
	--jit)
		mapfile -t COMPREPLY < <(compgen -W 'off on verify verify=' -- "$word")
		return ;;
	--mmu)
		mapfile -t COMPREPLY < <(compgen -W 'fast ranges safe' -- "$word")
		return ;;
	--machine)
		mapfile -t COMPREPLY < <(compgen -W 'microvm' -- "$word")
		return ;;
	--serial)
		mapfile -t COMPREPLY < <(compgen -W 'stdio file: pty socket: null' -- "$word")
		return ;;
	--io-threads)
		return ;;
	--virtio-transport)
		mapfile -t COMPREPLY < <(compgen -W 'mmio pci' -- "$word")
		return ;;
	--virtio-ring)
		mapfile -t COMPREPLY < <(compgen -W 'split packed' -- "$word")
		return ;;
	--disk)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--net)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--rng)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--share)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--console)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--balloon)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--pmem)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--vsock)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--vhost-user-blk)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--vhost-user-net)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--vhost-user-fs)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--log)
		mapfile -t COMPREPLY < <(compgen -W 'in_asm out_asm op int mmu' -- "$word")
		return ;;
	--log-file)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--log-level)
		mapfile -t COMPREPLY < <(compgen -W 'off error warning info debug trace' -- "$word")
		return ;;
	--config)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--api-sock)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--rootfs)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--kernel-modules)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--env)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--workdir)
		return ;;
	--user)
		return ;;
	--hostname)
		return ;;
	--timeout)
		return ;;
	--console-log)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--kernel)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--initrd)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--append)
		return ;;
	--module)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--protocol)
		mapfile -t COMPREPLY < <(compgen -W 'auto linux pvh multiboot flat' -- "$word")
		return ;;
	--mem)
		return ;;
	--cpus)
		return ;;
	--cpu)
		mapfile -t COMPREPLY < <(compgen -W 'auto x86-64 x86-64-v2 x86-64-v3 max' -- "$word")
		return ;;
	--accel)
		mapfile -t COMPREPLY < <(compgen -W 'auto kvm tcg' -- "$word")
		return ;;
	--accel-switch-every)
		return ;;
	--irqchip)
		mapfile -t COMPREPLY < <(compgen -W 'auto kernel split off' -- "$word")
		return ;;
	--dirty-log)
		mapfile -t COMPREPLY < <(compgen -W 'bitmap ring' -- "$word")
		return ;;
	--jit)
		mapfile -t COMPREPLY < <(compgen -W 'off on verify verify=' -- "$word")
		return ;;
	--mmu)
		mapfile -t COMPREPLY < <(compgen -W 'fast ranges safe' -- "$word")
		return ;;
	--machine)
		mapfile -t COMPREPLY < <(compgen -W 'microvm' -- "$word")
		return ;;
	--serial)
		mapfile -t COMPREPLY < <(compgen -W 'stdio file: pty socket: null' -- "$word")
		return ;;
	--io-threads)
		return ;;
	--virtio-transport)
		mapfile -t COMPREPLY < <(compgen -W 'mmio pci' -- "$word")
		return ;;
	--virtio-ring)
		mapfile -t COMPREPLY < <(compgen -W 'split packed' -- "$word")
		return ;;
	--disk)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--net)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--rng)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--share)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--console)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--balloon)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--pmem)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--vsock)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--vhost-user-blk)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--vhost-user-net)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--vhost-user-fs)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--log)
		mapfile -t COMPREPLY < <(compgen -W 'in_asm out_asm op int mmu' -- "$word")
		return ;;
	--log-file)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--log-level)
		mapfile -t COMPREPLY < <(compgen -W 'off error warning info debug trace' -- "$word")
		return ;;
	--class)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--ms)
		return ;;
	--json)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--id)
		return ;;
	--config-file)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--metadata)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--log-path)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--level)
		return ;;
	--module-filter)
		return ;;
	--metrics-path)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--http-api-max-payload-size)
		return ;;
	--mmds-size-limit)
		return ;;
	--seccomp-filter)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--start-time-us)
		return ;;
	--start-time-cpu-us)
		return ;;
	--parent-cpu-time-us)
		return ;;
	--describe-snapshot)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--kernel)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--initrd)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--append)
		return ;;
	--module)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--protocol)
		mapfile -t COMPREPLY < <(compgen -W 'auto linux pvh multiboot flat' -- "$word")
		return ;;
	--mem)
		return ;;
	--cpus)
		return ;;
	--cpu)
		mapfile -t COMPREPLY < <(compgen -W 'auto x86-64 x86-64-v2 x86-64-v3 max' -- "$word")
		return ;;
	--accel)
		mapfile -t COMPREPLY < <(compgen -W 'auto kvm tcg' -- "$word")
		return ;;
	--accel-switch-every)
		return ;;
	--irqchip)
		mapfile -t COMPREPLY < <(compgen -W 'auto kernel split off' -- "$word")
		return ;;
	--dirty-log)
		mapfile -t COMPREPLY < <(compgen -W 'bitmap ring' -- "$word")
		return ;;
	--jit)
		mapfile -t COMPREPLY < <(compgen -W 'off on verify verify=' -- "$word")
		return ;;
	--mmu)
		mapfile -t COMPREPLY < <(compgen -W 'fast ranges safe' -- "$word")
		return ;;
	--machine)
		mapfile -t COMPREPLY < <(compgen -W 'microvm' -- "$word")
		return ;;
	--serial)
		mapfile -t COMPREPLY < <(compgen -W 'stdio file: pty socket: null' -- "$word")
		return ;;
	--io-threads)
		return ;;
	--virtio-transport)
		mapfile -t COMPREPLY < <(compgen -W 'mmio pci' -- "$word")
		return ;;
	--virtio-ring)
		mapfile -t COMPREPLY < <(compgen -W 'split packed' -- "$word")
		return ;;
	--disk)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--net)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--rng)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--share)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--console)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--balloon)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--pmem)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--vsock)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--vhost-user-blk)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--vhost-user-net)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--vhost-user-fs)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--log)
		mapfile -t COMPREPLY < <(compgen -W 'in_asm out_asm op int mmu' -- "$word")
		return ;;
	--log-file)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	--log-level)
		mapfile -t COMPREPLY < <(compgen -W 'off error warning info debug trace' -- "$word")
		return ;;
	esac
	case ${COMP_WORDS[1]} in
	boot) words='--kernel --initrd --append --module --protocol --mem --cpus --cpu --accel --accel-switch --accel-switch-every --irqchip --dirty-log --jit --mmu --machine --serial --io-threads --virtio-transport --virtio-cmdline --virtio-fdt --virtio-ring --disk --net --rng --share --console --balloon --pmem --vsock --vhost-user-blk --vhost-user-net --vhost-user-fs --exit-code-port --boot-timer --no-reboot --log --log-file --perf-map --log-level --config --api-sock --print-config --help' ;;
	run) words='--rootfs --kernel-modules --env --workdir --user --hostname --tty --timeout --console-log --help --kernel --initrd --append --module --protocol --mem --cpus --cpu --accel --accel-switch --accel-switch-every --irqchip --dirty-log --jit --mmu --machine --serial --io-threads --virtio-transport --virtio-cmdline --virtio-fdt --virtio-ring --disk --net --rng --share --console --balloon --pmem --vsock --vhost-user-blk --vhost-user-net --vhost-user-fs --exit-code-port --boot-timer --no-reboot --log --log-file --perf-map --log-level' ;;
	bench) words='--accel --jit --cpu --class --ms --json --list --help' ;;
	serve) words='--api-sock --id --config-file --metadata --no-api --log-path --level --module-filter --show-level --show-log-origin --metrics-path --boot-timer --enable-pci --http-api-max-payload-size --mmds-size-limit --no-seccomp --seccomp-filter --start-time-us --start-time-cpu-us --parent-cpu-time-us --describe-snapshot --snapshot-version --version --help --kernel --initrd --append --module --protocol --mem --cpus --cpu --accel --accel-switch --accel-switch-every --irqchip --dirty-log --jit --mmu --machine --serial --io-threads --virtio-transport --virtio-cmdline --virtio-fdt --virtio-ring --disk --net --rng --share --console --balloon --pmem --vsock --vhost-user-blk --vhost-user-net --vhost-user-fs --exit-code-port --boot-timer --no-reboot --log --log-file --perf-map --log-level' ;;
	ctl) words='--help' ;;
	probe) words='--help' ;;
	version) words='--help' ;;
	help) words='--help' ;;
	esac
	if ((COMP_CWORD == 1)); then
		words='boot run bench serve ctl probe version help'
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _vmmctl vmmctl
