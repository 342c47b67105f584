import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameReader, HeldBytes } from '../../../../runtime/grpc/frame-reader.ts';
import { StatusError } from '../../../../runtime/grpc/status.ts';
import { frame } from './raw-client.ts';

function statusCode(work: () => unknown): number | undefined {
  try {
    work();
  } catch (error) {
    if (error instanceof StatusError) return error.status.code;
    throw error;
  }
  return undefined;
}

describe('FrameReader', () => {
  it('gives back what was framed, however it is cut', () => {
    const message = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(fc.array(fc.tuple(message, fc.boolean())), fc.array(fc.integer({ min: 1, max: 400 })), (sent, cuts) => {
        const held = new HeldBytes(10_000);
        const reader = new FrameReader(300, held);
        let data = Buffer.concat(sent.map(([bytes, compressed]) => frame(bytes, compressed ? 1 : 0)));
        const received = [];
        for (let turn = 0; data.length > 0; turn += 1) {
          const cut = cuts.length === 0 ? data.length : (cuts[turn % cuts.length] ?? 1);
          received.push(...reader.push(data.subarray(0, cut)));
          data = data.subarray(cut);
        }
        expect(received.map(({ bytes, compressed }) => [Buffer.from(bytes), compressed])).toEqual(
          sent.map(([bytes, compressed]) => [Buffer.from(bytes), compressed]),
        );
        expect(reader.idle).toBe(true);
        expect(() => held.take(10_000)).not.toThrow();
      }),
    );
  });

  it('knows when it stands within a message', () => {
    const reader = new FrameReader(100);
    reader.push(Buffer.from([0, 0]));
    expect(reader.idle).toBe(false);
  });

  it('refuses a message over the limit by its prefix alone', () => {
    const prefix = Buffer.from([0, 0, 0, 0, 101]);
    expect(statusCode(() => new FrameReader(100).push(prefix))).toBe(8);
    expect(statusCode(() => new FrameReader(101).push(prefix))).toBeUndefined();
    expect(statusCode(() => new FrameReader(100).push(Buffer.from([0, 0xff, 0xff, 0xff, 0xff])))).toBe(8);
  });

  it('refuses unknown flags', () => {
    expect(statusCode(() => new FrameReader(100).push(Buffer.from([2, 0, 0, 0, 0])))).toBe(13);
  });

  it('takes what it holds from the budget and gives it back', () => {
    const held = new HeldBytes(100);
    const first = new FrameReader(1000, held);
    const second = new FrameReader(1000, held);
    first.push(frame(new Uint8Array(200)).subarray(0, 40));
    expect(statusCode(() => second.push(frame(new Uint8Array(200)).subarray(0, 40)))).toBe(8);
    first.release();
    expect(second.push(frame(new Uint8Array(200)).subarray(0, 40))).toEqual([]);
  });

  it('keeps one buffer for a message that arrives byte by byte', () => {
    const reader = new FrameReader(1_000_000);
    const data = frame(new Uint8Array(200_000).fill(7));
    let frames = 0;
    for (const byte of data) frames += reader.push(Buffer.from([byte])).length;
    expect(frames).toBe(1);
  });
});
