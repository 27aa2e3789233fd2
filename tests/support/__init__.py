"""What tests stand on: a real engine, real images, a real store, and a whole running Lightd."""
