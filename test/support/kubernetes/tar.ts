// A writer of tar archives (POSIX.1-1988 ustar) that gives the same bytes for the same content, as image layers need.

/** One entry. Content makes a file, a target a symbolic link, neither a folder. */
export interface TarEntry {
  /** Without a leading slash. */
  readonly path: string;
  readonly content?: Uint8Array;
  readonly target?: string;
  /** Permissions; 0o755 for folders and 0o644 for files unless given. */
  readonly mode?: number;
}

const BLOCK_BYTES = 512;
const TYPE = { file: '0', link: '2', folder: '5' } as const;

/** Writes the entries in the order given, with every folder that they lie in before them, all of user 0 and of time 0. */
export function createTar(entries: readonly TarEntry[]): Buffer {
  const blocks = withFolders(entries).flatMap((entry) => [headerOf(entry), ...paddedContent(entry)]);
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK_BYTES)]);
}

function withFolders(entries: readonly TarEntry[]): TarEntry[] {
  const written = new Set<string>();
  return entries.flatMap((entry) => {
    const parts = entry.path.split('/');
    const folders = parts.slice(0, -1).map((_, index) => parts.slice(0, index + 1).join('/'));
    const missing = folders.filter((folder) => !written.has(folder));
    for (const path of [...missing, entry.path]) written.add(path);
    return [...missing.map((path) => ({ path })), entry];
  });
}

function paddedContent({ content }: TarEntry): Uint8Array[] {
  if (content === undefined) return [];
  return [content, Buffer.alloc((BLOCK_BYTES - (content.length % BLOCK_BYTES)) % BLOCK_BYTES)];
}

function headerOf({ path, content, target, mode }: TarEntry): Buffer {
  const type = target !== undefined ? TYPE.link : content === undefined ? TYPE.folder : TYPE.file;
  const header = Buffer.alloc(BLOCK_BYTES);
  const { name, prefix } = splitPath(type === TYPE.folder ? `${path}/` : path);
  const put = (text: string, offset: number, length: number): void => {
    if (Buffer.byteLength(text) > length) throw new Error(`tar: "${text}" does not fit into ${length} bytes`);
    header.write(text, offset);
  };
  const number = (value: number, offset: number, length: number): void =>
    put(`${value.toString(8).padStart(length - 1, '0')}\0`, offset, length);
  put(name, 0, 100);
  number(mode ?? (type === TYPE.folder ? 0o755 : 0o644), 100, 8);
  number(0, 108, 8);
  number(0, 116, 8);
  number(content?.length ?? 0, 124, 12);
  number(0, 136, 12);
  put(' '.repeat(8), 148, 8);
  put(type, 156, 1);
  put(target ?? '', 157, 100);
  put('ustar\u000000', 257, 8);
  put(prefix, 345, 155);
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 8);
  return header;
}

/** A path of more than 100 bytes is split at a slash: the front part has a field of its own. */
function splitPath(path: string): { readonly name: string; readonly prefix: string } {
  if (Buffer.byteLength(path) <= 100) return { name: path, prefix: '' };
  const at = path.indexOf('/', Math.max(0, path.length - 101));
  if (at <= 0 || at === path.length - 1) throw new Error(`tar: the path ${path} cannot be split into 155 and 100 bytes`);
  return { name: path.slice(at + 1), prefix: path.slice(0, at) };
}
