const orders = new EventSource("/kitchen/stream/");

orders.onmessage = ({ data }) => console.log(JSON.parse(data)); // what was broadcast to the group
orders.addEventListener("placed", ({ data }) => console.log(JSON.parse(data).item));
