// placeholder until math is written
