/** An IP address: one 32-bit word for IPv4, four for IPv6, most significant first. Made by {@link readIpAddress}. */
export type IpAddress = readonly number[];

/** A block of addresses, such as `10.0.0.0/8`. */
export interface IpBlock {
  readonly address: IpAddress;
  readonly prefixLength: number;
}

/**
 * Reads an address; an IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`) is the IPv4 address. Undefined for anything else,
 * also for IPv4 with leading zeros and addresses with a zone.
 */
export function readIpAddress(text: string): IpAddress | undefined {
  const words = text.includes(':') ? readV6(text) : readV4(text);
  if (words?.length === 4 && words[0] === 0 && words[1] === 0 && words[2] === 0xffff) return words.slice(3);
  return words;
}

function readV4(text: string): number[] | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return undefined;
  let word = 0;
  for (const part of match.slice(1)) {
    if (Number(part) > 255 || (part.length > 1 && part.startsWith('0'))) return undefined;
    word = word * 256 + Number(part);
  }
  return [word];
}

function readV6(text: string): number[] | undefined {
  const [head = '', tail, more] = withoutDots(text)?.split('::') ?? [];
  if (more !== undefined) return undefined;
  const before = groupsOf(head);
  const after = tail === undefined ? [] : groupsOf(tail);
  if (before === undefined || after === undefined) return undefined;
  const missing = 8 - before.length - after.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  const groups = [...before, ...Array.from({ length: missing }, () => 0), ...after];
  return [0, 2, 4, 6].map((at) => (groups[at] ?? 0) * 65_536 + (groups[at + 1] ?? 0));
}

function groupsOf(text: string): number[] | undefined {
  if (text === '') return [];
  const groups = text.split(':');
  return groups.every((group) => /^[0-9A-Fa-f]{1,4}$/.test(group))
    ? groups.map((group) => Number.parseInt(group, 16))
    : undefined;
}

/** `::ffff:10.0.0.1` with its last part as two groups. */
function withoutDots(text: string): string | undefined {
  if (!text.includes('.')) return text;
  const colon = text.lastIndexOf(':');
  const [word] = readV4(text.slice(colon + 1)) ?? [];
  return word === undefined ? undefined : `${text.slice(0, colon)}:${(word >>> 16).toString(16)}:${(word & 0xffff).toString(16)}`;
}

/** Reads a block, or a single address; undefined for anything else. Bits beyond the prefix are ignored. */
export function readIpBlock(text: string): IpBlock | undefined {
  const [, base = '', length] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const address = readIpAddress(base);
  if (address === undefined) return undefined;
  const isMapped = address.length === 1 && base.includes(':');
  const bits = address.length * 32;
  const prefixLength = length === undefined ? bits : Number(length) - (isMapped ? 96 : 0);
  return prefixLength >= 0 && prefixLength <= bits ? { address, prefixLength } : undefined;
}

/** Whether the address lies in the block. */
export function isWithin({ address: base, prefixLength }: IpBlock, address: IpAddress): boolean {
  if (base.length !== address.length) return false;
  let rest = prefixLength;
  for (let index = 0; rest > 0; index += 1, rest -= 32) {
    const shift = rest >= 32 ? 0 : 32 - rest;
    if ((base[index] ?? 0) >>> shift !== (address[index] ?? 0) >>> shift) return false;
  }
  return true;
}

/** The address as text; IPv6 in the form of RFC 5952. */
export function formatIpAddress(address: IpAddress): string {
  const [first = 0] = address;
  if (address.length === 1) return [24, 16, 8, 0].map((shift) => (first >>> shift) & 255).join('.');
  const groups = address.flatMap((word) => [word >>> 16, word & 0xffff]);
  const zeros = longestZeros(groups);
  const hex = groups.map((group) => group.toString(16));
  if (zeros.length < 2) return hex.join(':');
  return `${hex.slice(0, zeros.start).join(':')}::${hex.slice(zeros.start + zeros.length).join(':')}`;
}

function longestZeros(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start += 1) {
    let length = 0;
    while (groups[start + length] === 0) length += 1;
    if (length > best.length) best = { start, length };
  }
  return best;
}
