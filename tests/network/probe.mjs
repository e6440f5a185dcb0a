// A host's end of a measurement: `echo` answers every UDP packet, `ask ADDRESS COUNT` sends numbered packets, asks for each
// to come back, and prints how many did. Run inside a namespace by instruments.test.mjs.

import { createSocket } from 'node:dgram';

const PORT = 7007;
const DEADLINE = 1500;
const [role, address, count] = process.argv.slice(2);
const socket = createSocket('udp4');

if (role === 'echo') {
  socket.on('message', (message, { address: from, port }) => socket.send(message, port, from));
  socket.bind(PORT, () => console.log('ready'));
} else {
  let errors = 0;
  const back = new Set();
  socket.on('message', (message) => back.add(message.readUInt32BE()));
  for (let number = 0; number < Number(count); number += 1) {
    const message = Buffer.alloc(200);
    message.writeUInt32BE(number);
    socket.send(message, PORT, address, (error) => { errors += error ? 1 : 0; });
    if (number % 5 === 4) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  // Those that are lost do not come; the others have this long.
  const until = Date.now() + DEADLINE;
  while (back.size < Number(count) && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 10));
  console.log(JSON.stringify({ back: back.size, errors }));
  socket.close();
}
