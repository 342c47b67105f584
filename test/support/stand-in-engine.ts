import { createServer, type Server } from 'node:http';
import { once } from 'node:events';

/** A container as `docker inspect` shows it, cut down to a few of its fields around those that matter. */
export function dockerContainer(options: {
  readonly id: string;
  readonly pid: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly env?: readonly string[];
  readonly image?: string;
  readonly running?: boolean;
}): unknown {
  const running = options.running ?? true;
  return {
    Id: options.id,
    Created: '2026-03-02T09:41:07.123456789Z',
    Path: '/docker-entrypoint.sh',
    Args: ['nginx', '-g', 'daemon off;'],
    State: { Status: running ? 'running' : 'exited', Running: running, Paused: false, Pid: options.pid, ExitCode: 0 },
    Image: `sha256:${'5'.repeat(64)}`,
    Name: '/web',
    Driver: 'overlay2',
    HostConfig: { NetworkMode: 'bridge', CgroupnsMode: 'private', Privileged: false },
    Config: {
      Hostname: options.id.slice(0, 12),
      User: '',
      Env: options.env ?? ['PATH=/usr/local/sbin:/usr/local/bin', 'TIER=front'],
      Cmd: ['nginx', '-g', 'daemon off;'],
      Image: options.image ?? 'registry.example.org:5000/team/web:1.27',
      WorkingDir: '',
      Labels: options.labels ?? { 'org.example.app': 'web', maintainer: 'team: web' },
    },
    NetworkSettings: { Networks: { bridge: { IPAddress: '172.17.0.2' } } },
  };
}

/** An image as `docker image inspect` shows it. */
export function dockerImage(digest: string): unknown {
  return { Id: digest, RepoTags: ['web:1.27'], RepoDigests: [], Architecture: 'amd64', Os: 'linux', Size: 1 };
}

/** The Docker Engine API on a unix socket, as far as attestation asks for it; answers can be changed while it runs. */
export class StandInEngine implements AsyncDisposable {
  /** Answers by path; a path that is not here gets the engine's 404. A function may answer with anything. */
  readonly answers = new Map<string, unknown>();
  /** Paths that were asked for. */
  readonly requests: string[] = [];
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      const path = request.url ?? '';
      this.requests.push(path);
      const answer = this.answers.get(path);
      if (answer === 'hang') return;
      response.setHeader('content-type', 'application/json');
      response.statusCode = answer === undefined ? 404 : 200;
      response.end(typeof answer === 'string' ? answer : JSON.stringify(answer ?? { message: `No such container: ${path}` }));
    });
  }

  async listen(socketPath: string): Promise<void> {
    this.#server.listen(socketPath);
    await once(this.#server, 'listening');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }
}
