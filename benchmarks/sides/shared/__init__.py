"""What all sides do alike: the clock, the notes taken meanwhile, and what is made of them."""
