// Holds fixtures/packets against the readers and writers of the official client.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';

import { decodePacket, decodePayload, encodePacket, encodePayload } from 'engine.io-parser';
import { Decoder, Encoder, PacketType } from 'socket.io-parser';

const engineio = load('engineio');
const socketio = load('socketio');
const { malformed } = load('malformed');

describe('Engine.IO packets', () => {
  check(engineio.packets, decodePacket, (packet) => called(encodePacket, packet, true));
});

describe('Engine.IO payloads', () => {
  check(engineio.payloads, decodePayload, (packets) => called(encodePayload, packets));
});

describe('Socket.IO packets', () => {
  check([...socketio.packets, ...socketio.binary], readSocketIo, writeSocketIo);
});

describe('malformed packets', () => {
  for (const { name, wire } of malformed) {
    test(name, () => {
      const { type, data } = decodePacket(wire);
      if (type !== 'error') {
        assert.equal(type, 'message');
        assert.throws(() => new Decoder().add(data));
      }
    });
  }
});

function check(entries, decode, encode) {
  for (const { name, wire, decoded, canonical = true } of entries) {
    test(name, async () => {
      assert.deepEqual(decode(wire), decoded);
      assert.equal((await encode(decoded)) === wire, canonical, 'canonical');
    });
  }
}

function readSocketIo(wire) {
  const { type, nsp: namespace, ...others } = new Decoder().decodeString(wire);
  return { type: PacketType[type], namespace, ...others };
}

function writeSocketIo({ type, namespace: nsp, ...others }) {
  return new Encoder().encodeAsString({ type: PacketType[type], nsp, ...others });
}

/** What a function that takes a callback last calls it with. */
function called(encode, ...args) {
  return new Promise((resolve) => encode(...args, resolve));
}

function load(name) {
  return JSON.parse(readFileSync(new URL(`../../fixtures/packets/${name}.json`, import.meta.url), 'utf8'));
}
