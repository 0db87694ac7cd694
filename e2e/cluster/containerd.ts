/**
 * Containerd: the container runtime, with its own root, state and socket in the state folder, so a containerd of the machine is not touched.
 * Pods get a point-to-point link each (CNI `ptp`), routed by the host: no bridge, so Service addresses work without kernel modules.
 * Neither `ptp` nor `bridge` enforces NetworkPolicy.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { attempt, run } from "./command.ts";
import { startDaemon, untilServing } from "./daemon.ts";
import { network, paths, state } from "./layout.ts";

export const pauseImage = "packetboat.test/pause:e2e";
const cniBinaries = "/usr/lib/cni";

export const ctr = (...args: string[]): Promise<string> =>
  run("ctr", ["--address", paths.containerdSocket, "--namespace", "k8s.io", ...args]);

export async function startContainerd(): Promise<void> {
  const longestSocketPath = 107;
  if (paths.containerdSocket.length > longestSocketPath)
    throw new Error(`${paths.containerdSocket} is too long for a socket`);
  if (!existsSync(`${cniBinaries}/ptp`))
    throw new Error(`no CNI plugins in ${cniBinaries} (containernetworking-plugins)`);
  writeNetworkConfig();
  const file = state("containerd", "config.toml");
  mkdirSync(state("containerd"), { recursive: true });
  writeFileSync(file, config());
  startDaemon({ name: "containerd", program: "containerd", args: ["--config", file] });
  await untilServing("containerd", 30_000, () =>
    attempt("ctr", ["--address", paths.containerdSocket, "--timeout", "2s", "version"]),
  );
}

/** `restrict_oom_score_adj`: without CAP_SYS_RESOURCE runc may not lower the score and fails with "can't get final child's PID from pipe". */
const config = (): string => `version = 2
root = "${state("containerd", "root")}"
state = "${paths.containerdState}"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]

[grpc]
  address = "${paths.containerdSocket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${pauseImage}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "${existsSync("/sys/module/overlay") ? "overlayfs" : "native"}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "${state("containerd", "runc")}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${cniBinaries}"
    conf_dir = "${state("cni", "net.d")}"
`;

function writeNetworkConfig(): void {
  mkdirSync(state("cni", "net.d"), { recursive: true });
  const list = {
    cniVersion: "0.4.0",
    name: paths.cniNetwork,
    plugins: [
      {
        type: "ptp",
        ipMasq: true,
        ipam: {
          type: "host-local",
          dataDir: state("cni", "addresses"),
          ranges: [[{ subnet: network.podRange }]],
          routes: [{ dst: "0.0.0.0/0" }],
        },
      },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  };
  writeFileSync(state("cni", "net.d", "10-packetboat.conflist"), JSON.stringify(list, undefined, 2));
}
